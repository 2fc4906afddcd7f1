from __future__ import annotations

import json

import numpy as np
import pytest

from aacf_tf.backbones import build_backbone
from benchmarks import pretraining
from tfrecords.sources.drawing import Drawing


@pytest.mark.slow
def test_two_steps_change_the_weights_which_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "HELD_OUT", 12)
    monkeypatch.setattr(pretraining, "BATCH_SIZE", 6)
    backbone = pretraining.pretrain(0, tmp_path / "new", clips=12, epochs=1)
    pretraining.keras.utils.set_random_seed(0)
    start = build_backbone("small", width=64)
    kernels = [name.name for name in start.trainable_variables if "kernel" in name.name]
    changed = [
        not np.array_equal(before, after)
        for before, after in zip(start.trainable_variables, backbone.trainable_variables)
        if before.name in kernels
    ]
    assert len(changed) == 5 and all(changed)
    assert all(np.isfinite(weights).all() for weights in backbone.get_weights())
    result = json.loads((tmp_path / "new" / "pretraining.json").read_text())
    assert set(result) == {"motion", "scene"} and all(0 <= v <= 1 for v in result.values())

    # Now it is there, and nothing is drawn or learnt.
    monkeypatch.setattr(pretraining, "make_clips", None)
    again = pretraining.pretrain(0, tmp_path / "new", clips=12, epochs=1)
    for before, after in zip(backbone.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(before, after)


def test_scene_and_motion_are_independent(monkeypatch):
    def nothing(rng, motion, scene, conjugate):
        frames = np.zeros((12, 48, 48, 3), np.uint8)
        return Drawing(frames, None, np.zeros((12, 48, 48), bool), np.ones(12, bool))

    monkeypatch.setattr(pretraining, "draw", nothing)
    clips = pretraining.make_clips(2250, seed=1)
    table = np.zeros((6, 6))
    np.add.at(table, (clips.motion, clips.scene), 1)
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    # Chi-square of 25 degrees of freedom: mean 25, deviation 7.
    assert ((table - expected) ** 2 / expected).sum() < 53
    assert table.min() > 30


def test_held_out_clips_are_others():
    first, more = (pretraining.make_clips(3, 0, first=place) for place in (0, 3))
    both = pretraining.make_clips(6, 0)
    assert (both.clip[3:] == more.clip).all() and (both.motion[:3] == first.motion).all()
    assert (first.clip != more.clip).mean() > 0.5
    assert list(both.motion) == list(range(6))


@pytest.mark.parametrize("corner", [(0, 0, 0), (1, 5, 5), (11, 47, 47)])
def test_a_cell_is_the_actors_where_the_mask_touches_it(corner):
    model = pretraining.MotionAndScene(build_backbone("small", width=24), 6, 6)
    mask = np.zeros((1, 12, 48, 48), bool)
    mask[(0, *corner)] = True
    outputs = model({"clip": np.zeros((1, 12, 48, 48, 3), np.uint8), "mask": mask})
    cells = outputs["cells"].numpy()
    assert cells.shape == (1, 6, 8, 8) and cells.sum() == 1
    assert cells[(0, *(np.array(corner) // (2, 6, 6)))] == 1
    # The pooled score is that of the one cell.
    np.testing.assert_allclose(
        outputs["motion"][0], outputs["cell_motion"].numpy()[cells == 1][0], rtol=1e-5, atol=1e-6
    )


def test_only_the_actors_cells_count():
    model = pretraining.MotionAndScene(build_backbone("small", width=24), 6, 6)
    inputs = {
        "clip": np.zeros((2, 12, 48, 48, 3), np.uint8),
        "mask": np.zeros((2, 12, 48, 48), bool),
    }
    targets = {"motion": np.array([1, 2]), "scene": np.array([0, 3])}
    outputs = model(inputs)
    cells = np.zeros((2, 6, 8, 8), np.float32)
    cells[0, 0, 0, 0] = 1
    scores = np.zeros((2, 6, 8, 8, 6), np.float32)

    def loss():
        values = {**outputs, "cells": cells, "cell_motion": scores}
        return float(model.compute_loss(inputs, targets, values))

    base = loss()
    scores[0, 3, 3, 3, 0] = scores[1, 0, 0, 0, 0] = 9.0  # the background errs: no matter
    assert loss() == pytest.approx(base, abs=1e-6)
    scores[0, 0, 0, 0, 1] = 20.0  # the actor's cell is right: log 6 less
    assert loss() == pytest.approx(base - 0.7 * np.log(6), abs=1e-4)
