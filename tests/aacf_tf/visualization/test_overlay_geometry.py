"""Maps lie where the actor is, whatever the backbone has learned: flips and moves.

The actor is a bright square on a flat scene, the map is how much it changes the features. Kernels
are positive, so that none of the backbones prefers a direction by chance.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.networks.i3d import i3d
from aacf_tf.backbones.networks.small import small
from aacf_tf.backbones.receptive_field import receptive_field

SIDE = 9  # of the actor, pixels
MARGIN = 13  # of its centre from the rim, where padding distorts the maps

CASES = {
    "plain, even": (lambda: small(24), (8, 48, 54), 0.5),
    "plain, odd": (lambda: small(24), (7, 45, 47), 0.5),
    # How much the shortcuts count depends on the weights.
    "residual, even": (lambda: small(24, residual=True), (8, 72, 80), 1.8),
    "residual, odd": (lambda: small(24, residual=True), (7, 76, 69), 1.8),
    "i3d, even": (lambda: i3d("Mixed_3b"), (8, 64, 80), 0.8),
    "i3d, odd": (lambda: i3d("Mixed_3b"), (7, 61, 77), 0.8),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """(backbone, size, geometry, pixels that a map may be off on average)."""
    make, size, offset = CASES[request.param]
    keras.utils.set_random_seed(0)
    backbone = make()
    for variable in backbone.variables:
        if "kernel" in variable.name:
            variable.assign(tf.abs(variable))
    return backbone, size, receptive_field(backbone, size), offset


def clip(size, place):
    """A scene with the actor, uint8 `[T, H, W, 3]`; all the time, or at one moment."""
    moment, y, x = place
    frames = np.full([*size, 3], 127, np.uint8)
    reach = SIDE // 2
    actor = frames[:, y - reach : y + reach + 1, x - reach : x + reach + 1]
    actor[slice(None) if moment is None else moment] = 220
    return frames


def look(backbone, clips):
    """`[B, t, h, w]`: how much the features differ from those of the empty scene."""
    empty = np.full_like(clips[:1], 127)
    features = backbone(np.concatenate([empty, clips]), training=False).numpy()
    return ((features[1:] - features[:1]) ** 2).sum(-1)


def peaks(maps, geometry, axis):
    cells = [np.unravel_index(one.argmax(), one.shape)[axis] for one in maps]
    return geometry[axis].centres[cells]


def walk(size, axis):
    """Places of the actor along the height or the width, and a clip of each."""
    places = np.arange(MARGIN, size[axis] - MARGIN, 5)
    middle = [None, size[1] // 2, size[2] // 2]
    clips = [clip(size, [*middle[:axis], place, *middle[axis + 1 :]]) for place in places]
    return places, np.stack(clips)


@pytest.mark.parametrize("axis", [1, 2])
def test_the_peak_follows_the_actor_and_mirrors_with_the_clip(case, axis):
    backbone, size, geometry, offset = case
    stride = geometry[axis].stride
    places, clips = walk(size, axis)
    maps = look(backbone, clips)
    found = peaks(maps, geometry, axis)
    assert np.abs(found - places).max() <= stride
    beside = found - places
    assert np.abs(beside).max() <= stride and np.ptp(beside) <= stride

    mirrored = peaks(look(backbone, np.flip(clips, axis + 1)), geometry, axis)
    assert np.abs(size[axis] - 1 - mirrored - found).max() <= stride

    # Finer than a cell: the middle of the map is not beside the actor.
    across = maps.sum(tuple({1, 2, 3} - {axis + 1}))
    middles = across @ geometry[axis].centres / across.sum(-1)
    assert abs((middles - places).mean()) <= offset


def test_the_peak_lies_at_the_moment_of_the_action(case):
    backbone, size, geometry, _ = case
    moments = np.arange(1, size[0] - 1)
    clips = np.stack([clip(size, (moment, size[1] // 2, size[2] // 2)) for moment in moments])
    found = peaks(look(backbone, clips), geometry, 0)
    assert np.abs(found - moments).max() <= geometry[0].stride
