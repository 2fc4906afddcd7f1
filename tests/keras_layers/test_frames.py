"""Frames as images of the batch and back."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from keras_layers import FramesToImages, ImagesToFrames


def round_trip(side=3):
    """A 2-D convolution of each frame."""
    clips = keras.Input((None, None, None, 3))
    maps = keras.layers.Conv2D(4, side, 2, name="convolution")(FramesToImages()(clips))
    return keras.Model(clips, ImagesToFrames()([maps, clips]))


def test_every_frame_is_an_image_of_its_own(rng):
    clips = rng.normal(size=(2, 3, 7, 9, 3)).astype("float32")
    np.testing.assert_array_equal(FramesToImages()(clips), clips.reshape(6, 7, 9, 3))
    model = round_trip()
    maps = model(clips)
    assert maps.shape == (2, 3, 3, 4, 4)
    for b, t in ((0, 0), (0, 2), (1, 1)):
        alone = model.get_layer("convolution")(clips[b, t][None])
        np.testing.assert_allclose(maps[b, t], alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 7, 9, 3), (None, None, None, 8, 3), (None, 4, 7, 7, 3)])
def test_shapes_known_and_free(shape):
    images = FramesToImages().compute_output_shape(shape)
    count = None if None in shape[:2] else 6
    assert list(images) == [count, *shape[2:]]
    frames = ImagesToFrames().compute_output_shape([(count, 5, None, 8), shape])
    assert list(frames) == [*shape[:2], 5, None, 8]
    clips = keras.Input(shape[1:], batch_size=shape[0])
    symbolic = FramesToImages()(clips)
    assert list(symbolic.shape) == list(images)
    assert ImagesToFrames()([symbolic, clips]).shape == shape


def test_no_clips_are_no_maps():
    clips = tf.zeros([0, 3, 7, 9, 2])
    images = FramesToImages()(clips)
    assert images.shape == (0, 7, 9, 2)
    assert ImagesToFrames()([images, clips]).shape == clips.shape


def test_saved_trained_and_in_mixed_precision(rng, tmp_path):
    clips = rng.normal(size=(2, 3, 7, 9, 3)).astype("float32")
    model = round_trip()
    model.compile("sgd", "mse")
    model.fit(clips, np.ones((2, 3, 3, 4, 4), "float32"), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(clips), model(clips))
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        assert round_trip()(clips).dtype == tf.bfloat16
    finally:
        keras.mixed_precision.set_global_policy("float32")
