"""Windows cover a video, are blended, and find the actions in it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aacf_tf.attend import video as attend
from aacf_tf.attend.overlay import Painter
from aacf_tf.attend.windows import Cutter, Store, Window, blend, cover, hop

ACTIONS = [("red", 10, 30), ("blue", 48, 60), ("green", 72, 96)]


def window(begin, end, value, presence=1.0):
    """A window of one map step, whose map and scores are a number."""
    return Window(
        begin,
        end,
        np.array([(begin + end - 1) / 2]),
        [np.full([1, 2, 2], value, np.float32)],
        {"action": np.array([value])},
        np.array([presence]),
    )


@pytest.mark.parametrize(
    "length, overlap, begins",
    [
        (4, 0.5, [0]),
        (6, 0.5, [0]),
        (8, 0.5, [0, 2]),
        (12, 0.0, [0, 6]),
        (12, 0.5, [0, 3, 6]),
        (13, 0.5, [0, 3, 6, 7]),
        (8, 0.9, [0, 1, 2]),
    ],
)
def test_windows_cover_the_whole_video_and_the_last_one_ends_with_it(length, overlap, begins):
    assert cover(length, 6, overlap) == begins


def test_windows_move_on_at_least_a_tick():
    assert hop(1, 0.9) == 1 and hop(64, 0.5) == 32


def test_between_two_centres_windows_are_mixed_linearly():
    described = list(blend([window(0, 5, 0.0), window(4, 9, 1.0)], 10))
    assert [tick for tick, _ in described] == [*range(10)]
    values = [sum(w * one.maps[0][0, 0, 0] for one, w in parts) for _, parts in described]
    np.testing.assert_allclose(values, [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1])
    assert all(sum(weight for _, weight in parts) == 1 for _, parts in described)


def test_one_window_stands_alone_and_none_describes_nothing():
    assert [tick for tick, _ in blend([window(0, 3, 1.0)], 3)] == [0, 1, 2]
    assert list(blend([], 3)) == []


def test_a_score_counts_as_far_as_there_is_an_action():
    one = window(0, 4, 0.8, presence=0.25)
    np.testing.assert_allclose(one.scores_at(1)["action"], [0.2])


def test_windows_are_stored_as_they_were():
    store = Store()
    for begin in range(3):
        store.add(window(begin, begin + 2, float(begin)))
    for _ in range(2):
        assert [(one.begin, one.maps[0][0, 0, 0]) for one in store] == [(0, 0), (1, 1), (2, 2)]


def test_a_window_gets_the_frames_that_the_evaluation_would_take(seer):
    """A model of every second frame: windows of twelve ticks, the frames of two are held."""
    seer.card.fps = 12.5
    clips = []
    seer.predict_sampled, predict = lambda clip: clips.append(clip) or predict(clip), None
    predict = type(seer).predict_sampled.__get__(seer)
    cutter, most = Cutter(seer, 25.0, 12, cover(24, 12, 0.5)), 0
    ended = []
    for tick in range(24):
        ended.append(cutter.push(tick / 25, np.full([48, 64, 3], tick, np.uint8)))
        most = max(most, sum(len(frames) for _, frames, _ in cutter._open))
    assert [tick for tick, one in enumerate(ended) if one] == [11, 17, 23]
    wanted = seer.sample(12, 25.0)
    for begin, clip in zip((0, 6, 12), clips):
        np.testing.assert_array_equal(clip.frames[:, 0, 0, 0], begin + wanted)
        np.testing.assert_allclose(clip.times, (begin + wanted) / 25)
    assert most <= 12


def test_three_actions_are_found_within_a_window(seer, acted, write_video, tmp_path):
    """At 12 frames a second, a window is half a second."""
    path = write_video(tmp_path / "made.mkv", acted(110, ACTIONS), fps=12)
    files = [tmp_path / f"t{ending}" for ending in (".json", ".png")]
    seen = attend.attend_video(seer, str(path), None, timelines=files)
    assert seen.size == (48, 64) and seen.count == len(cover(110, 6, 0.5))
    assert [one.label for one in seen.intervals] == ["red", "blue", "green"]
    for one, (label, begin, end) in zip(seen.intervals, ACTIONS):
        assert abs(one.start - begin / 12) <= 0.5 and abs(one.end - end / 12) <= 0.5
        assert one.start <= one.at < one.end and 0.5 < one.score <= 1
        assert one.context_share == pytest.approx(0.6 / 1.6 if label == "blue" else 1 / 6, abs=0.07)
        np.testing.assert_allclose(one.box, (32, 12, 48, 24), atol=2)
    content = json.loads(files[0].read_text())
    assert [one["class"] for one in content["intervals"]] == ["red", "blue", "green"]
    assert (content["height"], content["width"], content["fps"]) == (48, 64, 12.0)
    assert files[1].stat().st_size > 1000


def test_times_count_from_the_start_of_the_file_and_a_threshold_decides(
    seer, acted, write_video, tmp_path, capsys
):
    path = str(write_video(tmp_path / "made.mkv", acted(60, [("red", 40, 56)]), fps=12))
    [one] = attend.look(seer, path, 2.0, 4.9).intervals
    assert abs(one.start - 40 / 12) <= 0.5 and abs(one.end - 56 / 12) <= 0.5
    seen = attend.attend_video(seer, path, None, threshold=1.0)
    assert not seen.intervals and "no score reaches the threshold of 1" in capsys.readouterr().out


def test_frames_of_uneven_times_are_shown_as_long_as_they_last(seer, acted, write_video, tmp_path):
    """Every second frame is missing while nothing happens: the action is where it was."""
    frames = acted(72, [("green", 48, 66)])
    kept = [*range(0, 40, 2), *range(40, 72)]
    times = [round(1000 * n / 12) for n in kept]
    path = write_video(tmp_path / "uneven.mkv", frames[kept], fps=12, times=times)
    [one] = attend.look(seer, str(path)).intervals
    assert abs(one.start - 4.0) <= 0.6 and abs(one.end - 5.5) <= 0.6


def test_the_overlay_is_orange_at_the_action_while_it_is_there(
    seer, acted, write_video, tmp_path, monkeypatch
):
    path = write_video(tmp_path / "made.mkv", acted(48, [("red", 24, 48)]), fps=12)
    shown = []
    monkeypatch.setattr(attend, "write_video", lambda path, frames, fps: shown.extend(frames))
    attend.attend_video(seer, str(path), tmp_path / "out.mp4")
    assert len(shown) == 48 and {one.shape for one in shown} == {(48, 64, 3)}
    quiet, acting = shown[5].astype(int), shown[40].astype(int)
    assert np.ptp(quiet, axis=-1).max() < 40  # grey
    inside = acting[15:21, 36:44]
    assert (inside[..., 0] - inside[..., 2]).min() > 100
    assert (np.abs(acting[40:, :16] - 90) < 60).all()


def test_odd_sides_get_a_line_more(tmp_path):
    from aacf_tf.attend.overlay import write_video
    from tfrecords.media.video import read_frames

    write_video(tmp_path / "odd.mp4", np.zeros([3, 47, 63, 3], np.uint8), 10.0)
    assert read_frames(str(tmp_path / "odd.mp4")).frames.shape == (3, 48, 64, 3)


def test_large_frames_have_a_line_of_text(seer):
    painter = Painter(seer)
    image = np.full([240, 320, 3], 128, np.uint8)
    picture = painter.draw(image, [], "red 0.90", False)
    assert picture.shape == image.shape and picture[:20].min() < 40 and picture[30:].min() == 128
