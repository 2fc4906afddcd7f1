"""Training, test and serving share one function: the same eagerly, in a graph, in tf.data."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrecords.reading.preprocess import Window, crop_size, preprocess


def gradient(height: int, width: int, leading=(2,)) -> np.ndarray:
    """Rows in channel 0, columns in channel 1: shows where a pixel came from."""
    y, x = np.mgrid[:height, :width]
    return np.broadcast_to(np.stack([y, x, 0 * x], -1), (*leading, height, width, 3)).astype(
        "uint8"
    )


CASES = {
    "whole": {"size": (24, 32)},
    "stretch": {"size": (20, 20)},
    "short_side": {"size": (16, 16), "resize": "short_side"},
    "crop_and_flip": {"size": (24, 32), "crop": (16, 24, 0.4, 0.9), "flip": True},
}


@pytest.mark.parametrize("case", CASES)
def test_eager_is_graph_is_tf_data(case):
    options = dict(CASES[case])
    if "crop" in options:
        options["crop"] = Window(*options["crop"])
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 24, 32, 3), dtype=np.uint8)
    eager = preprocess(frames, **options)
    height, width = options.get("crop", options["size"])[:2]
    assert eager.shape == (2, 3, height, width, 3) and eager.dtype == tf.uint8

    def function(x):
        return preprocess(x, **options)

    unknown = tf.TensorSpec([None, None, None, None, 3], tf.uint8)
    dynamic = tf.function(function, input_signature=[unknown])
    np.testing.assert_array_equal(dynamic(frames), eager)
    assert dynamic.get_concrete_function().output_shapes == [None, None, height, width, 3]
    dataset = tf.data.Dataset.from_tensors(frames).map(function)
    np.testing.assert_array_equal(next(iter(dataset)), eager)


def test_frames_that_fit_are_untouched():
    frames = gradient(24, 32)
    np.testing.assert_array_equal(preprocess(frames, (24, 32)), frames)
    np.testing.assert_array_equal(preprocess(frames, (24, 32), "short_side"), frames)


def test_stretch_averages_what_it_shrinks():
    # Stripes one pixel wide: without antialiasing some of them would survive.
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 200
    small = preprocess(stripes, (16, 8)).numpy()
    assert small.shape == (1, 16, 8, 3)
    assert small[:, :, 1:-1].min() >= 95 and small[:, :, 1:-1].max() <= 105


def test_short_side_keeps_the_aspect_and_the_centre():
    small = preprocess(gradient(40, 80), (20, 20), "short_side").numpy()[0]
    # Scaled by 1/2 to 20 x 40, then columns 10..29 of those: two pixels apart in the original.
    assert np.abs(np.diff(small[:, 5:-5, 1].astype(int)) - 2).max() <= 1
    assert abs(small[:, :, 1].mean() - 39.5) <= 1 and abs(small[:, :, 0].mean() - 19.5) <= 1
    tall = preprocess(gradient(90, 31), (20, 20), "short_side")
    assert tall.shape == (2, 20, 20, 3)


def test_crop_lies_where_it_says():
    frames = gradient(24, 32)
    for y, x, top, left in [(0.0, 0.0, 0, 0), (0.999, 0.999, 8, 16), (0.5, 0.25, 4, 4)]:
        cut = preprocess(frames, (24, 32), crop=Window(16, 16, y, x)).numpy()
        np.testing.assert_array_equal(cut, frames[:, top : top + 16, left : left + 16])


def test_flip_mirrors_columns():
    frames = gradient(24, 32)
    np.testing.assert_array_equal(
        preprocess(frames, (24, 32), flip=tf.constant(True)), frames[:, :, ::-1]
    )
    np.testing.assert_array_equal(preprocess(frames, (24, 32), flip=tf.constant(False)), frames)


@pytest.mark.parametrize(
    ("size", "fraction", "expected"),
    [
        ((72, 96), 0.875, (64, 80)),
        ((256, 352), 0.875, (224, 304)),
        ((50, 61), 1.0, (50, 61)),
        ((12, 6), 0.1, (8, 6)),
    ],
)
def test_crop_sizes(size, fraction, expected):
    assert crop_size(size, fraction) == expected


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="Received resize='squeeze'"):
        preprocess(gradient(8, 8), (8, 8), "squeeze")
    for fraction in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"Received crop={fraction}"):
            crop_size((8, 8), fraction)


@pytest.mark.parametrize("dynamic", [False, True])
def test_whole_keeps_all_of_a_photograph(dynamic):
    y, x = np.mgrid[:40, :90]
    image = np.stack([4 * y, 2 * x, 0 * x], -1).astype(np.uint8)[None]  # channel 1: the column
    shape = [None] * 4 if dynamic else image.shape
    spec = tf.TensorSpec([*shape[:3], 3], tf.uint8)
    whole = tf.function(lambda frames: preprocess(frames, (20, 20), "whole"), [spec])(image)
    assert whole.shape == (1, 20, 45, 3)
    assert np.abs(whole[0, :, 1:-1, 1] - (4.0 * np.arange(45) + 1)[1:-1]).max() <= 1
    untouched = preprocess(image, (40, 40), "whole")
    np.testing.assert_array_equal(untouched, image)
    portrait = preprocess(image.transpose(0, 2, 1, 3), (20, 20), "whole")
    np.testing.assert_array_equal(portrait, whole.numpy().transpose(0, 2, 1, 3))
    # The window of training lies anywhere along the longer side.
    for place, column in ((0.0, 0), (0.5, 13), (0.999, 25)):
        window = Window(20, 20, tf.constant(0.3), tf.constant(place))
        cut = preprocess(image, (20, 20), "whole", window)
        np.testing.assert_array_equal(cut, whole[:, :, column : column + 20])


@pytest.mark.parametrize("resize", ["short_side", "whole"])
def test_strips_that_would_fill_the_memory_are_refused(resize):
    """One pixel by 5000 covers 32 x 32 only at 32 x 160,000; at that of 2^26 an int32 overflows."""
    assert preprocess(tf.zeros([1, 3, 3000, 3], tf.uint8), (32, 32), resize).shape[-3] == 32
    for length in (5000, 1 << 26):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"Expected frames that cover \(32, 32\)"
        ):
            preprocess(tf.zeros([1, 1, length, 3], tf.uint8), (32, 32), resize)
    assert preprocess(tf.zeros([1, 1, 5000, 3], tf.uint8), (32, 32), "stretch").shape[-2] == 32
