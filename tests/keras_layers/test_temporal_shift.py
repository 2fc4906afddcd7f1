"""Temporal shift: values by hand, and Keras's contract."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from keras_layers import TemporalShift


def shifted(clips, share):
    """Channels frame by frame, in numpy."""
    moved = int(share * clips.shape[-1])
    result = np.zeros_like(clips)
    result[..., 2 * moved :] = clips[..., 2 * moved :]
    for frame in range(clips.shape[1]):
        if frame:
            result[:, frame, ..., :moved] = clips[:, frame - 1, ..., :moved]
        if frame + 1 < clips.shape[1]:
            result[:, frame, ..., moved : 2 * moved] = clips[:, frame + 1, ..., moved : 2 * moved]
    return result


@pytest.mark.parametrize("share", [0, 0.125, 0.3, 0.5])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_channels_come_from_the_neighbouring_frames(share, frames):
    clips = np.random.default_rng(0).normal(size=[2, frames, 3, 4, 16]).astype(np.float32)
    np.testing.assert_array_equal(TemporalShift(share)(clips), shifted(clips, share))


def test_takes_any_number_of_frames_when_traced():
    layer = TemporalShift(0.25)
    traced = tf.function(layer, input_signature=[tf.TensorSpec([None, None, 2, 2, 8])])
    for frames in (1, 4):
        clips = np.random.default_rng(frames).normal(size=[1, frames, 2, 2, 8])
        np.testing.assert_array_equal(traced(clips), shifted(clips.astype(np.float32), 0.25))


def test_is_saved_with_its_share():
    layer = keras.layers.deserialize(keras.layers.serialize(TemporalShift(0.25, name="shift")))
    assert (layer.share, layer.name) == (0.25, "shift")


@pytest.mark.parametrize("share", [-0.1, 0.6])
def test_refuses_a_share_beyond_half(share):
    with pytest.raises(ValueError, match=r"share to be in 0\.\.0\.5"):
        TemporalShift(share)
