"""Conjugates: where a free span is chosen, where shots end, what a removal leaves."""

from __future__ import annotations

import math
import weakref

import cv2
import numpy as np
import pytest

from tfrecords.conjugates import before_after, shots
from tfrecords.conjugates.before_after import free_span
from tfrecords.conjugates.frozen_frame import frozen_frame
from tfrecords.conjugates.remove_person import remove_person
from tfrecords.media.motion import camera_path
from tfrecords.media.video import UnreadableError


@pytest.mark.parametrize(
    ("clip", "shot", "actions", "expected"),
    [
        ((4, 6), (0, 20), [], (6.5, 8.5)),  # the longer side is after
        ((14, 16), (0, 20), [], (11.5, 13.5)),  # before
        ((9, 11), (0, 20), [], (6.5, 8.5)),  # a tie: before
        ((4, 6), (0, 20), [(7, 9)], (1.5, 3.5)),  # the other side is taken by an action
        ((4, 6), (0, 20), [(9, 12)], (1.5, 3.5)),  # 2.5 s free after, 3.5 s before
        ((4, 6), (3, 10), [], (6.5, 8.5)),  # a cut at 3 s
        ((4, 6), (0, 7), [(1, 2)], (2.0, 3.5)),  # shorter than the clip: what is there
        ((4, 6), (3.6, 6.6), [], None),  # 0 and 0.1 s: three frames at 25/s are no clip
        ((4, 6), (0, 20), [(3, 7)], None),  # inside another action
        ((4, 6), (0, 20), [(5, 9)], (1.5, 3.5)),  # an action that begins in the clip and goes on
    ],
)
def test_free_span(clip, shot, actions, expected):
    found = free_span(clip, shot, [clip, *actions], fps=25, margin=0.5)
    assert found == (None if expected is None else pytest.approx(expected))


def test_margin_moves_the_span():
    assert free_span((10, 11), (0, 12), [], 25, margin=2.0) == pytest.approx((7, 8))


def _scene(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    rng = np.random.default_rng(seed)
    tint = np.roll([30, 60, 90], seed)
    coarse = (tint + rng.integers(0, 130, (height // 8, width // 8, 3))).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _cuts(frames: list[np.ndarray]) -> list[int]:
    return shots.find_cuts(np.stack([shots.signature(frame) for frame in frames]))


def test_cuts_are_found():
    assert _cuts([_scene(1)] * 10 + [_scene(2)] * 10 + [_scene(3)] * 7) == [10, 20]


def _transitions(frames: list[np.ndarray]) -> list[int]:
    return shots.find_transitions(np.stack([shots.thumbnail(frame) for frame in frames]))


def _mixed(one: np.ndarray, other: np.ndarray, count: int) -> list[np.ndarray]:
    """The frames of a dissolve."""
    shares = (np.arange(count) + 0.5) / count
    return [np.rint(one * (1 - share) + other * share).astype(np.uint8) for share in shares]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_flashes_are_no_cuts(length):
    flash = np.full_like(_scene(1), 255)
    frames = [_scene(1)] * 12 + [flash] * length + [_scene(1)] * 12
    assert _cuts(frames) == _transitions(frames) == []


def test_pans_are_no_cuts():
    wide = _scene(1, 96, 600)
    frames = [wide[:, 12 * n : 12 * n + 128] for n in range(30)]
    assert _cuts(frames) == _transitions(frames) == []


@pytest.mark.parametrize("length", [3, 6, 12, 20])
def test_a_dissolve_lies_between_two_shots(length):
    frames = [_scene(1)] * 20 + _mixed(_scene(1), _scene(2), length) + [_scene(2)] * 20
    low, high = _transitions(frames)
    assert 4 <= low <= 20 and 20 + length <= high <= 36 + length
    assert _cuts([_scene(1)] * 20 + [_scene(2)] * 20) and not _transitions(
        [_scene(1)] * 20 + [_scene(2)] * 20
    )


def test_a_fade_to_black_ends_a_shot_and_another_light_does_not():
    black = np.zeros_like(_scene(1))
    fade = _mixed(_scene(1), black, 10)
    assert _transitions([_scene(1)] * 15 + fade + [black] * 15)
    dimmed = (_scene(1) * 0.5).astype(np.uint8)
    dimming = _mixed(_scene(1), dimmed, 10)
    assert _transitions([_scene(1)] * 15 + dimming + [dimmed] * 15) == []


def test_shots_of_a_file_in_seconds(tmp_path, write_video):
    frames = np.stack([_scene(1)] * 12 + [_scene(2)] * 18)
    timeline = shots.scan(str(write_video(tmp_path / "a.mkv", frames, fps=20)))
    assert timeline.fps(0.5) == 20
    assert timeline.shot(0.2, 0.4) == pytest.approx((0, 0.6))
    assert timeline.shot(0.6, 1.0) == pytest.approx((0.6, 1.5))


@pytest.fixture(scope="module")
def film(tmp_path_factory, write_video):
    """20 s at 10 frames/s; shots begin at 0, 3, 4.5, 8, 16 and 17 s."""
    lengths = [30, 15, 35, 80, 10, 30]
    frames = np.concatenate([[_scene(n, 48, 64)] * count for n, count in enumerate(lengths)])
    return str(write_video(tmp_path_factory.mktemp("film") / "film.mkv", frames, fps=10))


def test_a_film_in_chunks_has_the_shots_of_the_whole(film, monkeypatch):
    monkeypatch.setattr(shots, "CONTEXT", 15)
    whole, chunked = shots.Timeline(film), shots.Timeline(film, chunk=1.0)
    for span in [(0, 1), (3.2, 4), (5, 7.4), (9, 15.5), (16.2, 16.8), (17.5, 20), (12, 18)]:
        assert chunked.shot(*span) == pytest.approx(whole.shot(*span)), span


def test_only_the_neighbourhood_of_a_clip_is_decoded(film, monkeypatch):
    monkeypatch.setattr(shots, "CONTEXT", 5)
    decoded, decode = [], shots.video.decode

    def recorded(path, start=0.0):
        for item in decode(path, start):
            decoded.append(item[0])
            yield item

    monkeypatch.setattr(shots.video, "decode", recorded)
    timeline = shots.Timeline(film, chunk=1.0)
    # A cut at 8 s, room enough behind the clip: nobody needs to know where this shot ends.
    low, high = timeline.shot(8.5, 9.5, enough=1.5)
    assert low == pytest.approx(8.0) and 11 <= high < 12.5
    assert min(decoded) > 6 and max(decoded) < 13.5
    decoded.clear()
    timeline.shot(8.5, 9.5, enough=1.5)
    assert not decoded
    # Where actions end the caller's interest, nobody looks.
    assert shots.Timeline(film, chunk=1.0).shot(10, 11, (9.5, 12)) == pytest.approx((9.5, 12))


def test_the_choice_is_that_of_the_whole_film(rng):
    for _ in range(200):
        cuts = tuple(sorted(rng.uniform(0, 100, rng.integers(0, 8)).round(2)))
        start = round(rng.uniform(1, 90), 2)
        clip = start, start + round(rng.uniform(0.5, 8), 2)
        if any(clip[0] < cut < clip[1] for cut in cuts):
            continue
        other = sorted(rng.uniform(0, 100, 2).round(2))
        actions = [clip, tuple(other)] if rng.random() < 0.5 else [clip]
        found = []
        for chunk in (math.inf, 3.0):
            timeline = object.__new__(shots.Timeline)
            timeline._length, timeline._path, timeline._context = chunk, "", 0.0
            timeline._chunks = _chunks(cuts, 100.0, chunk)
            within = before_after.between_actions(clip, actions)
            shot = timeline.shot(*clip, within, clip[1] - clip[0] + 0.5)
            found.append(free_span(clip, shot, actions, 25.0, 0.5))
        assert found[0] == (found[1] and pytest.approx(found[1])), (cuts, clip, actions)


def _chunks(cuts, end, length):
    count = 1 if math.isinf(length) else int(end // length) + 1
    spans = [(n and n * length, (n + 1) * length) for n in range(count)]
    return {
        n: shots.Chunk(
            tuple(cut for cut in cuts if low <= cut < high), end if end < high else None, 25.0
        )
        for n, (low, high) in enumerate(spans)
    }


def test_both_sides_free_for_long_enough_are_a_tie():
    timeline = object.__new__(shots.Timeline)
    timeline._length = 30.0
    timeline._chunks = {n: shots.Chunk((), None, 25.0) for n in range(400)}
    low, high = timeline.shot(4000, 4010, enough=10.5)
    assert (low, high) == pytest.approx((4000 - shots.FAR, 4010 + shots.FAR))
    assert free_span((4000, 4010), (low, high), [], 25.0) == pytest.approx((3989.5, 3999.5))


def test_a_film_of_hours_is_not_held_in_memory(monkeypatch):
    alive, count = [], 5000

    def film(path, start):
        for n in range(count):
            signature = np.full(384, (n // 700) % 2, np.float32)
            alive.append(weakref.ref(signature))
            yield shots.Frame(n / 25, signature, np.zeros(8, np.float32)), 25.0
            if n % 500 == 0:
                held = sum(reference() is not None for reference in alive)
                assert held <= shots.BLOCK + 2 * shots.CONTEXT + 2, n

    monkeypatch.setattr(shots, "frames", film)
    chunk = shots._scan("a.mkv", 0, math.inf, 1.0)
    assert chunk.cuts == pytest.approx([28.0 * n for n in range(1, 8)])
    assert chunk.end == pytest.approx(count / 25) and chunk.fps == 25


def test_the_file_whose_frames_cannot_be_converted_is_named(monkeypatch):
    class Frame:
        def reformat(self, **_):
            raise ValueError("no such pixel format")

    monkeypatch.setattr(shots.video, "decode", lambda path, start: [(0.0, 20.0, Frame())])
    with pytest.raises(UnreadableError, match=r"a\.mkv .* cannot be converted .no such pixel"):
        next(shots.frames("a.mkv"))


def test_windows_are_all_that_could_serve():
    found = before_after.windows((10, 12), [(4, 16)], [(10, 12), (14, 14.4)], 25, margin=0.5)
    # 5.5 s before: a window each half second, the nearest a margin away; 1.5 and 1.6 s after.
    np.testing.assert_allclose(found, [(7.5 - n / 2, 9.5 - n / 2) for n in range(8)])
    # No room for 2 s anywhere: the longest piece there is.
    found = before_after.windows((10, 12), [(8.5, 16)], [(12.9, 13), (14, 20)], 25, margin=0.5)
    np.testing.assert_allclose(found, [(8.5, 9.5)])
    # Of several shots, all.
    found = before_after.windows((10, 12), [(0, 2), (9, 12.2), (20, 22.5)], [], 25, margin=0.5)
    np.testing.assert_allclose(found, [(0, 2), (20, 22), (20.5, 22.5)])
    assert before_after.windows((10, 12), [(9.9, 12.1)], [], 25) == []
    assert before_after.windows((10, 10.1), [(0, 20)], [], 25) == []  # a clip of three frames


def test_the_window_most_like_the_background(tmp_path, write_video):
    """The camera turns to something else in one shot; an actor walks about in all of it."""
    here, there = _scene(1, 48, 64), _scene(2, 48, 64)
    frames = np.stack([here] * 40 + [there] * 20 + [here] * 40)
    for n in range(100):
        frames[n, 20:40, n // 2 : n // 2 + 12] = 255 * (n % 2)
    path = str(write_video(tmp_path / "a.mkv", frames, fps=10))
    candidates = before_after.windows((7, 8), [(0, 10)], [(7, 8)], 10)
    assert before_after.most_alike(path, (7, 8), candidates) == pytest.approx((8.5, 9.5))
    # With the other side taken, the nearest that shows the same.
    candidates = [span for span in candidates if span[1] < 7]
    assert before_after.most_alike(path, (7, 8), candidates) == pytest.approx((3, 4))
    only_there = [span for span in candidates if span[0] >= 4 and span[1] <= 6]
    assert only_there and before_after.most_alike(path, (7, 8), only_there) is None


def _with_actor(scenes: np.ndarray, begin: float, speed: float) -> tuple[np.ndarray, np.ndarray]:
    """A red square that walks over the scenes; its mask is one pixel too small."""
    clip, mask = scenes.copy(), np.zeros(scenes.shape[:3], bool)
    for n in range(len(clip)):
        x = round(begin + speed * n)
        clip[n, 40:70, max(x, 0) : x + 14] = (220, 20, 20)
        mask[n, 41:69, max(x + 1, 0) : x + 13] = True
    return clip, mask


def test_removal_before_a_still_camera():
    scenes = np.stack([_scene(5)] * 24)
    clip, mask = _with_actor(scenes, 10, 4)
    result = remove_person(clip, mask)
    assert result.shape == clip.shape and result.dtype == np.uint8
    # The scene was seen everywhere at some time: it comes back, and stands still.
    assert np.abs(result.astype(int) - scenes).max() <= 8
    assert result.astype(int).std(axis=0).max() < 2
    # Far from the actor's way not a bit changes.
    np.testing.assert_array_equal(result[:, :20], clip[:, :20])


def test_removal_before_a_moving_camera():
    wide = _scene(6, 96, 260)
    scenes = np.stack([wide[:, 3 * n : 3 * n + 128] for n in range(24)])
    clip, mask = _with_actor(scenes, 30, 2)
    result = remove_person(clip, mask)
    error = np.abs(result.astype(int) - scenes)
    assert error.mean() < 2 and np.percentile(error, 99) < 25
    assert np.abs(clip.astype(int) - scenes).max() > 100  # the actor was there


def test_removal_of_what_moves_with_the_actor():
    scenes = np.stack([_scene(7)] * 24)
    clip, mask = _with_actor(scenes, 10, 4)
    for n in range(24):  # a bat, beyond the dilated mask, which the mask does not know of
        x = 10 + 4 * n
        clip[n, 24:42, x + 5 : x + 11] = (250, 250, 250)
    result = remove_person(clip, mask)
    assert np.abs(result.astype(int) - scenes)[:, 24:42].max() < 30


def test_removal_where_nothing_was_ever_seen_does_not_flicker():
    noise = np.random.default_rng(0).normal(0, 3, (20, 96, 128, 3))
    scenes = np.clip(_scene(8) + noise, 0, 255).astype(np.uint8)
    clip, mask = _with_actor(scenes, 50, 0)
    result = remove_person(clip, mask)
    assert not (result[..., 0].astype(int) - result[..., 1] > 180)[mask].any()
    assert result[:, 45:65, 54:60].astype(int).std(axis=0).max() < 4


def test_removal_without_an_actor_changes_nothing():
    clip = np.stack([_scene(9)] * 3)
    np.testing.assert_array_equal(remove_person(clip, np.zeros(clip.shape[:3], bool)), clip)


def test_removal_where_the_actor_fills_the_frame():
    clip = np.stack([_scene(9, 16, 16)] * 3)
    result = remove_person(clip, np.ones(clip.shape[:3], bool))
    assert result.shape == clip.shape


def test_a_still_camera_gives_identities():
    grey = np.stack([cv2.cvtColor(_scene(1), cv2.COLOR_RGB2GRAY)] * 5)
    path = camera_path(grey, np.ones(grey.shape, bool))
    np.testing.assert_array_equal(path, np.tile(np.eye(3), (5, 1, 1)))


def test_a_pan_is_measured():
    wide = cv2.cvtColor(_scene(1, 96, 260), cv2.COLOR_RGB2GRAY)
    grey = np.stack([wide[:, 4 * n : 4 * n + 128] for n in range(9)])
    path = camera_path(grey, np.ones(grey.shape, bool))
    np.testing.assert_allclose(path[:, 0, 2], 4 * (np.arange(9) - 4), atol=0.3)
    np.testing.assert_allclose(path[:, 1, 2], 0, atol=0.3)


def test_frozen_frame():
    clip = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), np.uint8)
    frozen = frozen_frame(clip)
    assert frozen.shape == clip.shape
    assert (frozen == clip[0]).all()
