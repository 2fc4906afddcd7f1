"""What is refused in the graph, before anything is decoded or computed."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf.serving import requests


def png_header(width, height):
    sides = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + sides + b"\x08\x02\0\0\0"


def jpeg_header(width, height):
    whole = tf.io.encode_jpeg(np.zeros([8, 8, 3], np.uint8)).numpy()
    size = whole.index(b"\xff\xc0") + 5
    sides = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return whole[:size] + sides + whole[size + 4 :]


@pytest.mark.parametrize(
    "picture, message",
    [
        (png_header(20_000, 20_000), "of 1 to 67108864 pixels, received one of] [400000000]"),
        (png_header(2**31 - 1, 2**31 - 1), "received one of] [4611686014132420609]"),
        (png_header(24, 24)[:18], "received one of] [0]"),
        (jpeg_header(65_500, 65_500), "received one of] [4290250000]"),
        (b"GIF89a" + b"\xff" * 40, "received a picture of another format"),
        (b"", "received a picture of another format"),
        (b"\xff\xd8\xff", "Invalid JPEG data"),
    ],
    ids=["png", "giant png", "cut", "jpeg", "gif", "empty", "no jpeg"],
)
def test_pictures_are_judged_by_their_headers(picture, message):
    good = tf.io.encode_png(np.zeros([24, 24, 3], np.uint8)).numpy()
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(message)):
        tf.function(requests.check_pictures)(tf.constant([good, picture, good]))


def test_whether_a_picture_is_large_is_said():
    small, large = (
        tf.io.encode_png(np.zeros([side, 4096, 3], np.uint8), compression=1).numpy()
        for side in (24, 1025)
    )
    pictures, alone = requests.check_pictures(tf.constant([small, small]))
    assert pictures.shape == (2,) and not alone
    assert requests.check_pictures(tf.constant([small, large]))[1]


def test_two_streams_are_of_as_many_clips():
    specs = {name: tf.TensorSpec([None, 8], tf.string) for name in ("frames", "flow")}
    given = {"frames": tf.zeros([2, 8], tf.string), "flow": tf.zeros([2, 8], tf.string)}
    assert requests.check_shapes(given, specs).keys() == given.keys()
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many clips of frames and flow"):
        requests.check_shapes({**given, "flow": tf.zeros([3, 8], tf.string)}, specs)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"Expected flow of shape \[batch, 8\]"
    ):
        requests.check_shapes({**given, "flow": tf.zeros([2, 7], tf.string)}, specs)
