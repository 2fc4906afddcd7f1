"""FAME against numpy, and on a scene whose foreground is known."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import tensorflow as tf

from tfrecords.reading.remedies.fame import BINS, foregrounds, paste_foregrounds


@pytest.fixture
def clips(rng):
    """Textured scenes with a square of another colour that moves: uint8 [3, 4, 40, 48, 3]."""
    still = rng.integers(40, 90, (3, 1, 40, 48, 3))
    clips = np.repeat(still, 4, axis=1).astype(np.uint8)
    for time in range(4):
        clips[:, time, 8:26, 6 + 4 * time : 24 + 4 * time] = (230, 30, 40)
    return clips


def blur(image):
    """Correlates with a Gaussian of a tenth of the shorter side, mirrored at the border."""
    size = int(0.1 * min(image.shape)) // 2 * 2 + 1
    reach = size // 2
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (size / 3)) ** 2)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    padded = np.pad(image, reach, mode="reflect")
    blurred = np.zeros_like(image)
    for row in range(size):
        for column in range(size):
            part = padded[row : row + image.shape[0], column : column + image.shape[1]]
            blurred += weights[row, column] * part
    return blurred


def quantile(values, share):
    return np.sort(values.ravel())[int(np.round(share * (values.size - 1)))]


def foreground(clip):
    pixels = clip.astype(np.float32) / 255
    motion = blur(np.abs(np.diff(pixels, axis=0)).sum(-1).mean(0))
    mean = pixels.mean(0)
    bins = np.zeros(mean.shape[:2], int)
    for place in np.ndindex(bins.shape):
        hue, saturation, value = colorsys.rgb_to_hsv(*mean[place])
        x, y = (saturation * turn(2 * np.pi * hue) for turn in (np.cos, np.sin))
        x, y, v = (int(np.round(part * (BINS - 1))) for part in ((x + 1) / 2, (y + 1) / 2, value))
        bins[place] = x + BINS * y + BINS**2 * v
    front = np.bincount(bins[motion >= quantile(motion, 0.5)], minlength=BINS**3) * 1.0
    back = np.bincount(bins[motion <= quantile(motion, 0.1)], minlength=BINS**3) + 1.0
    front, back = front[bins] / front.sum(), back[bins] / back.sum()
    likely = blur(front / (front + back))
    return likely >= quantile(likely, 0.5)


def test_masks_are_those_of_numpy(clips):
    found = foregrounds(tf.constant(clips)).numpy()
    assert found.shape == (3, 40, 48) and {*found.ravel()} == {0.0, 1.0}
    for mask, clip in zip(found, clips):
        # Rounding may tip a pixel at an edge.
        assert (mask != foreground(clip)).mean() < 0.01


def test_what_moves_is_found(clips):
    mask = foregrounds(tf.constant(clips)).numpy() > 0
    assert mask[:, 10:24, 12:30].mean() > 0.95
    assert 0.45 < mask.mean() < 0.6
    assert foregrounds(tf.constant(clips[:, :1].repeat(3, 1))).numpy().all()  # nothing moves


def test_chosen_rows_are_pasted_on_the_clip_before_them(clips):
    inputs = {"clip": tf.constant(clips), "has_conjugate": tf.constant([True, True, True])}
    pasted = paste_foregrounds(inputs, tf.constant([True, False, True]))
    mask = foregrounds(inputs["clip"]).numpy()[:, None, :, :, None] > 0
    expected = np.where(mask, clips, clips[[2, 0, 1]])
    expected[1] = clips[1]
    np.testing.assert_array_equal(pasted["clip"], expected)
    assert pasted["has_conjugate"].numpy().tolist() == [False, True, False]


def test_a_clip_alone_stays(clips):
    inputs = {"clip": tf.constant(clips[:1]), "has_conjugate": tf.constant([True])}
    pasted = paste_foregrounds(inputs, tf.constant([True]))
    np.testing.assert_array_equal(pasted["clip"], clips[:1])
    assert pasted["has_conjugate"].numpy().all()
