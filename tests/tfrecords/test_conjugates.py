"""Conjugates: where a free span is chosen, where shots end, what a removal leaves."""

from __future__ import annotations

import weakref

import cv2
import numpy as np
import pytest

from tfrecords.conjugates import registration, shots
from tfrecords.conjugates.before_after import free_span
from tfrecords.conjugates.frozen_frame import frozen_frame
from tfrecords.conjugates.remove_person import remove_person
from tfrecords.video import UnreadableError


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


def test_flashes_and_pans_are_no_cuts():
    flash = np.full_like(_scene(1), 255)
    assert _cuts([_scene(1)] * 8 + [flash] + [_scene(1)] * 8) == []
    wide = _scene(1, 96, 600)
    assert _cuts([wide[:, 12 * n : 12 * n + 128] for n in range(30)]) == []


def test_scan_gives_end_and_cuts_in_seconds(tmp_path, write_video):
    frames = np.stack([_scene(1)] * 12 + [_scene(2)] * 18)
    timeline = shots.scan(str(write_video(tmp_path / "a.mkv", frames, fps=20)))
    assert timeline.end == pytest.approx(1.5)
    assert timeline.cuts == pytest.approx((0.6,))
    assert timeline.shot(0.2, 0.4) == pytest.approx((0, 0.6))
    assert timeline.shot(0.6, 1.0) == pytest.approx((0.6, 1.5))


def test_a_film_of_hours_is_not_held_in_memory(rng):
    alive = []

    def film():
        for n in range(500):
            frame = rng.random(8).astype(np.float32)
            alive.append(weakref.ref(frame))
            yield frame
            assert sum(reference() is not None for reference in alive[-100:]) < 12, n

    assert shots.find_cuts(film()) == []
    assert len(alive) == 500


def test_scan_names_the_file_whose_frames_cannot_be_converted(monkeypatch):
    class Frame:
        def reformat(self, **_):
            raise ValueError("no such pixel format")

    monkeypatch.setattr(shots.video, "decode", lambda path: [(0.0, 20.0, Frame())])
    with pytest.raises(UnreadableError, match=r"a\.mkv .* cannot be converted .no such pixel"):
        shots.scan("a.mkv")


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
    path = registration.camera_path(grey, np.ones(grey.shape, bool))
    np.testing.assert_array_equal(path, np.tile(np.eye(3), (5, 1, 1)))


def test_a_pan_is_measured():
    wide = cv2.cvtColor(_scene(1, 96, 260), cv2.COLOR_RGB2GRAY)
    grey = np.stack([wide[:, 4 * n : 4 * n + 128] for n in range(9)])
    path = registration.camera_path(grey, np.ones(grey.shape, bool))
    np.testing.assert_allclose(path[:, 0, 2], 4 * (np.arange(9) - 4), atol=0.3)
    np.testing.assert_allclose(path[:, 1, 2], 0, atol=0.3)


def test_frozen_frame():
    clip = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), np.uint8)
    frozen = frozen_frame(clip)
    assert frozen.shape == clip.shape
    assert (frozen == clip[0]).all()
