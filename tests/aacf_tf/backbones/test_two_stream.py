"""Two-stream I3D: the sum of two networks, and arrays as DeepMind's sample has them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.networks.i3d import i3d
from aacf_tf.backbones.two_stream import read_array, two_stream_i3d
from tfrecords.utils.errors import UsageError


@pytest.fixture
def clips(rng):
    shape = (2, 9, 32, 40)
    return {
        "rgb": rng.integers(0, 256, (*shape, 3), np.uint8),
        "flow": rng.uniform(0, 255, (*shape, 2)).astype(np.float32),
    }


@pytest.mark.slow
def test_logits_are_the_sum_of_those_of_two_networks(clips, rng):
    joint = two_stream_i3d(include_top=True, classes=3)
    logits = joint(clips)
    assert logits.shape == (2, 3) and logits.dtype == tf.float32
    streams = [joint.get_layer(f"{stream}_i3d") for stream in ("rgb", "flow")]
    assert [w.name for w in streams[1].weights] == [w.name for w in streams[0].weights]
    alone = i3d(include_top=True, classes=3)
    assert [w.name for w in alone.weights] == [w.name for w in streams[0].weights]
    alone.set_weights(streams[0].get_weights())
    expected = alone(clips["rgb"]) + streams[1](clips["flow"])
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_maps_stand_side_by_side_rgb_first(clips):
    model = two_stream_i3d()
    features = model(clips)
    assert features.shape == (2, 2, 1, 2, 2048)
    rgb, flow = (model.get_layer(f"{stream}_i3d")(clips[stream]) for stream in ("rgb", "flow"))
    np.testing.assert_allclose(features[..., :1024], rgb, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features[..., 1024:], flow, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_logits_are_added_in_float32_under_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = two_stream_i3d(include_top=True, classes=3)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert model.output.dtype == tf.float32
    assert model.get_layer("logits").compute_dtype == "float32"


@pytest.mark.parametrize(("stream", "channels"), [("rgb", 3), ("flow", 2)])
def test_the_network_sees_the_numbers_of_the_array(stream, channels, rng, tmp_path):
    array = rng.uniform(-1, 1, (1, 4, 6, 5, channels)).astype(np.float32)
    array[0, 0, 0] = [[-1], [0], [1], [0.5], [-0.05]]
    np.save(tmp_path / "clip.npy", array)
    pixels = read_array(tmp_path / "clip.npy", stream)
    assert pixels.dtype == np.float32 and pixels.min() == 0 and pixels.max() == 255
    # A displacement of nothing is 127.5, one of 10 of 20 pixels three quarters of the range.
    np.testing.assert_array_equal(pixels[0, 0, 0, 1:4, 0], [127.5, 255, 191.25])
    scale = i3d("Conv3d_1a_7x7", channels=channels).get_layer("scale")
    np.testing.assert_allclose(scale(pixels), array, atol=3e-7)


def test_one_clip_without_the_batch_and_doubles(tmp_path):
    np.save(tmp_path / "clip.npy", np.full((4, 6, 5, 2), 1.0004))
    pixels = read_array(tmp_path / "clip.npy", "flow")
    assert pixels.shape == (1, 4, 6, 5, 2) and pixels.dtype == np.float32


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 4, 6, 5, 2), np.float32), r"height, width, 3\] of rgb .* 5, 2\]"),
        (np.zeros((2, 4, 6, 5, 3), np.float32), r"received the shape \[2, 4, 6, 5, 3\]"),
        (np.zeros((1, 0, 6, 5, 3), np.float32), r"received the shape \[1, 0, 6, 5, 3\]"),
        (np.zeros((6, 5, 3), np.float32), r"received the shape \[6, 5, 3\]"),
        (np.zeros((1, 4, 6, 5, 3), np.uint8), "received the type uint8"),
        (np.full((1, 4, 6, 5, 3), 1.01, np.float32), r"in \[-1, 1\] .* 1.01 to 1.01"),
        (np.full((1, 4, 6, 5, 3), np.nan, np.float32), "nan to nan"),
        (np.full((1, 4, 6, 5, 3), None), "Expected a .npy array .* allow_pickle=False"),
    ],
)
def test_what_does_not_fit_is_one_error(array, message, tmp_path):
    np.save(tmp_path / "clip.npy", array, allow_pickle=True)
    with pytest.raises(UsageError, match=message):
        read_array(tmp_path / "clip.npy", "rgb")


def test_files_that_are_no_arrays(tmp_path):
    path = tmp_path / "clip.npy"
    with pytest.raises(UsageError, match="No such file"):
        read_array(path, "rgb")
    np.save(path, np.zeros((1, 4, 6, 5, 3), np.float32))
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:7], b"", b"PK\x03\x04 no archive"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"Expected a \.npy array in .*clip\.npy"):
            read_array(path, "rgb")
    np.savez(tmp_path / "clips.npz", np.zeros(3))
    with pytest.raises(UsageError, match="archive of arrays"):
        read_array(tmp_path / "clips.npz", "rgb")
