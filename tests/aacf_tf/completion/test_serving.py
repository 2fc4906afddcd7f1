"""The exported network takes any picture and any hole, and needs nothing of what trained it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from aacf_tf.completion import serving
from aacf_tf.completion.networks import REACH, Completer
from aacf_tf.completion.options import Settings
from tfrecords.conjugates.fillers import Network

SETTINGS = Settings(size=16, width=2, fill="diffused", hole_sides=(0.25, 0.5))


@pytest.fixture(scope="module")
def completer():
    """A network with weights of mixed signs in each layer, so that its painting can be seen."""
    completer = Completer(2, "diffused", 16, (0.2, 0.4, 0.6))
    random = np.random.default_rng(0)
    for weight in completer.network.weights:
        if "kernel" in weight.name:
            weight.assign(random.normal(0, 0.3, weight.shape))
    return completer


@pytest.fixture(scope="module")
def exported(completer, tmp_path_factory):
    directory = tmp_path_factory.mktemp("export") / "completion"
    for version in (1, 2):
        written = serving.export(completer, SETTINGS, {"images_digest": "abc"}, directory)
        assert written == directory / str(version)
    return directory


@pytest.fixture(scope="module")
def complete(exported):
    return tf.saved_model.load(str(exported / "2")).signatures["serving_default"]


def call(complete, image, mask):
    return complete(image=tf.constant(image), mask=tf.constant(mask))["image"].numpy()


def directly(completer, image, mask):
    """Runs the network on a whole picture, sides multiples of 4, colours 0..255."""
    hole = mask[None, ..., None].astype(np.float32)
    painted = completer(image[None].astype(np.float32) / 255, hole)[0]
    return np.where(mask[..., None] > 0, np.rint(255 * np.clip(painted, 0, 1)), image)


@pytest.mark.parametrize(
    ("size", "holes"),
    [
        ((1, 1), [(0, 1, 0, 1)]),
        ((3, 7), [(0, 3, 2, 5)]),  # from border to border
        ((16, 16), [(0, 16, 0, 16)]),  # all of it
        ((37, 50), [(0, 4, 0, 5), (30, 37, 44, 50), (12, 20, 20, 22)]),  # two corners
        ((64, 40), [(10, 50, 5, 35)]),  # wider than any in training
        ((33, 32), []),
    ],
)
def test_any_picture_and_any_hole(complete, size, holes, rng):
    image = rng.integers(1, 255, (2, *size, 3), np.uint8)
    mask = np.zeros((2, *size), np.uint8)
    for top, bottom, left, right in holes:
        mask[0, top:bottom, left:right] = 1
    completed = call(complete, image, mask)
    assert completed.shape == image.shape and completed.dtype == np.uint8
    np.testing.assert_array_equal(completed[mask == 0], image[mask == 0])
    if holes:
        assert (completed[0] != image[0]).any(-1)[mask[0] > 0].mean() > 0.9
        # What stood in the hole has no say.
        other = np.where(mask[..., None] > 0, rng.integers(1, 255, image.shape), image)
        np.testing.assert_array_equal(call(complete, other.astype(np.uint8), mask), completed)


def test_it_is_the_network_that_was_trained(complete, completer, rng):
    image = rng.integers(0, 256, (24, 16, 3), np.uint8)
    mask = np.zeros((24, 16), np.uint8)
    mask[3:11, 8:16] = 255  # any number but 0
    wanted = directly(completer, image, mask > 0)
    found = call(complete, image[None], mask[None])[0]
    assert np.abs(found - wanted).max() <= 1  # of 255, by rounding
    assert (found != image).any(-1).sum() > 50


def test_only_the_part_that_counts_is_looked_at(complete, completer, rng):
    """It comes out the same as if the network had seen the whole picture."""
    image = rng.integers(0, 256, (2 * REACH + 60, 48, 3), np.uint8)
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[REACH + 13 : REACH + 20, 21:28] = 1
    known = 1 - mask[None, ..., None].astype(np.float32)
    limits = [int(limit) for limit in serving._part(known)]
    assert limits == [12, REACH + 20 + REACH, 0, 48]
    found = call(complete, image[None], mask[None])[0]
    assert np.abs(found - directly(completer, image, mask)).max() <= 1


def test_wide_holes_are_completed_on_a_coarser_scale(complete, rng):
    """It is completed at half the size and enlarged again."""
    small = rng.integers(0, 256, (1, 16, 16, 3), np.uint8)
    mask = np.zeros((1, 16, 16), np.uint8)
    mask[:, 4:12, 3:11] = 1  # 8 pixels, as wide as in training
    large, wide = (part.repeat(2, 1).repeat(2, 2) for part in (small, mask))
    found = call(complete, large, wide)
    wanted = tf.image.resize(call(complete, small, mask), (32, 32)).numpy()
    assert np.abs(found - wanted)[wide > 0].max() <= 1.5  # both are rounded
    assert (found == large)[wide == 0].all()


def test_holds_square(rng):
    known = (rng.uniform(size=(1, 9, 14, 1)) > 0.8).astype(np.float32)
    for side in range(1, 16):
        found = any(
            not known[0, top : top + side, left : left + side].any()
            for top in range(9 - side + 1)
            for left in range(14 - side + 1)
        )
        assert bool(serving.holds_square(tf.constant(known), side)) == found, side


def test_sizes_must_agree(complete):
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected a mask of the image"):
        call(complete, np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 9), np.uint8))


def test_it_serves_as_a_filler(exported, complete, rng):
    image = rng.integers(0, 256, (20, 30, 3), np.uint8)
    hole = np.zeros((20, 30), bool)
    hole[5:12, 10:17] = True
    filled = Network(str(exported))(image, hole)
    np.testing.assert_array_equal(
        filled, call(complete, image[None], hole[None].astype(np.uint8))[0]
    )
    description = json.loads((exported / "2" / "assets" / "model.json").read_text())
    assert description["settings"]["size"] == 16 and description["widest_hole"] == 8
    assert description["images_digest"] == "abc" and description["versions"]["tensorflow"]
