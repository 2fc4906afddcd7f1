"""What moves in made clips: a square on a textured background, the camera still or moving."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tfrecords.media.motion import motion_mask

COLOURS = np.array([[230, 60, 40], [40, 60, 230]], np.uint8)


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with detail of all sizes, in greenish colours."""
    random = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells, amount in ((6, 90), (20, 60), (60, 50)):
        coarse = random.random((cells, cells, 3), np.float32) * amount
        picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture * (0.7, 1.1, 0.7), 0, 255).astype(np.uint8)


def filmed(
    pan: float = 0, zoom: float = 1, speed: float = 7, length: int = 14, scale: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """A square of two colours that goes to the left, and its mask; pan: pixels a frame."""
    height, width, side = 96 * scale, 128 * scale, 26 * scale
    wide = texture(2 * height, 3 * width)
    frames, mask = [], np.zeros((length, height, width), bool)
    for t in range(length):
        size = zoom**t
        left, top = width + pan * t * scale, height / 2
        matrix = np.array([[size, 0, -size * left], [0, size, -size * top]])
        frame = cv2.warpAffine(wide, matrix, (width, height), flags=cv2.INTER_AREA)
        x, y = round((100 - speed * t) * scale), 40 * scale
        if speed:
            frame[y : y + side, x : x + side] = np.repeat(COLOURS, side // 2, axis=0)[:, None]
            mask[t, y : y + side, x : x + side] = True
        frames.append(frame)
    noise = np.random.default_rng(1).normal(0, 2, (length, height, width, 3))
    return np.clip(frames + noise, 0, 255).astype(np.uint8), mask


@pytest.mark.parametrize(
    "film",
    [
        {},
        {"pan": -3, "length": 12},
        {"pan": -2.5, "length": 24, "speed": 3},
        {"zoom": 1.01},
        {"pan": 2, "length": 6, "speed": 15},
        {"scale": 3, "pan": -1},
    ],
    ids=str,
)
def test_a_square_that_moves_is_found_whatever_the_camera_does(film):
    frames, truth = filmed(**film)
    found = motion_mask(frames)
    assert found.shape == truth.shape and found.dtype == bool
    overlap = (found & truth).sum() / (found | truth).sum()
    assert overlap > 0.6
    assert (found & truth).sum((1, 2)).min() > 0.5 * truth[0].sum()  # in every frame


@pytest.mark.parametrize("film", [{}, {"pan": 3}, {"zoom": 1.015}], ids=str)
def test_nothing_moves_but_the_camera(film):
    assert motion_mask(filmed(speed=0, **film)[0]).mean() < 0.002


def test_neither_a_cut_nor_a_flash_nor_a_single_frame_is_motion():
    random = np.random.default_rng(0)
    two = np.stack([texture(96, 128, 0)] * 6 + [texture(96, 128, 5)[:, ::-1]] * 6)
    two = np.clip(two + random.normal(0, 2, two.shape), 0, 255).astype(np.uint8)
    assert not motion_mask(two).any()
    two[3] = 255 - two[3]
    assert not motion_mask(two).any()
    single = motion_mask(two[:1])
    assert single.shape == (1, 96, 128) and not single.any()


def test_a_bright_actor_before_a_dim_background_is_not_taken_for_the_camera():
    random = np.random.default_rng(0)
    frames = np.stack([random.integers(60, 80, (40, 48, 3))] * 6).astype(np.uint8)
    truth = np.zeros((6, 40, 48), bool)
    for t in range(6):
        truth[t, 12:24, 4 + 5 * t : 16 + 5 * t] = True
    frames[truth] = 250
    found = motion_mask(frames)
    assert (found & truth).sum() / (found | truth).sum() > 0.6


def test_the_same_clip_gives_the_same_mask():
    frames, _ = filmed(pan=2, length=8)
    np.testing.assert_array_equal(motion_mask(frames), motion_mask(frames.copy()))
