"""The test sets: their pixels are what they claim to be."""

from __future__ import annotations

import numpy as np
import pytest

from aacf_tf.bias.sets import GREY, SETS, Material, background_region

LENGTH, HEIGHT, WIDTH = 6, 64, 80


@pytest.fixture(scope="module")
def material():
    random = np.random.default_rng(0)
    clip, scene, other = random.integers(0, 200, (3, LENGTH, HEIGHT, WIDTH, 3)).astype(np.uint8)
    mask = np.zeros((LENGTH, HEIGHT, WIDTH), bool)
    for t in range(LENGTH):
        mask[t, 20:32, 10 + 3 * t : 22 + 3 * t] = True
    return Material(clip, mask, scene, {"other": other, "same": other[::-1]}, (0, 7))


@pytest.fixture(scope="module")
def versions(material):
    return {name: kind.make(material) for name, kind in SETS.items()}


def test_every_set_has_a_version_of_the_clips_shape(material, versions):
    assert versions["swap_random"] is None  # no such scene was lent
    assert versions["original"] is material.clip
    assert versions["background_only"] is material.scene
    for version in versions.values():
        assert version is None or version.shape == material.clip.shape
        assert version is None or version.dtype == np.uint8


@pytest.mark.parametrize(
    "name", [name for name, kind in SETS.items() if kind.actor and not kind.still]
)
def test_the_actor_keeps_its_pixels(name, material, versions):
    if versions[name] is not None:
        mask = material.mask
        np.testing.assert_array_equal(versions[name][mask], material.clip[mask])


def test_around_the_actor_is_what_the_set_says(material, versions):
    far = np.ones((HEIGHT, WIDTH), bool)
    far[18:34, 8:40] = False  # where the actor comes near
    around = {name: v[:, far].astype(int) for name, v in versions.items() if v is not None}
    assert (around["human_only"] == GREY).all()
    np.testing.assert_array_equal(around["swap_other"], material.scenes["other"][:, far])
    np.testing.assert_array_equal(around["swap_same"], material.scenes["same"][:, far])
    assert len(np.unique(around["plain"].reshape(-1, 3), axis=0)) == 1
    stripes = around["stripes"]
    assert (stripes == stripes[:1]).all() and stripes[0].std(axis=0).max() > 10
    # Two colours and what lies between them: all on one line.
    assert np.linalg.svd(stripes[0] - stripes[0].mean(axis=0))[1][1] < 0.05 * len(stripes[0])


def test_one_frame_stands_still(material, versions):
    for name, of in (("one_frame", "original"), ("stripes_one_frame", "stripes")):
        assert (versions[name] == versions[of][LENGTH // 2]).all()


def test_the_placebo_fills_the_background_alone(material, versions):
    region = background_region(material.mask, np.random.default_rng(material.seed))
    changed = (versions["placebo"] != material.clip).any(-1)
    assert changed[region].mean() > 0.9 and not changed[material.mask].any()
    still = {name: kind.make(material) for name, kind in SETS.items() if name == "placebo"}
    np.testing.assert_array_equal(still["placebo"], versions["placebo"])  # by the seed
