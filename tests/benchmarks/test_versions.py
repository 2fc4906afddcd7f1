"""Training clips as remedies change them: where what is pasted and mixed in is from."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import frozen, versions
from tfrecords.reading.remedies.batch import ERASED, MASKED


@pytest.fixture
def clips(rng):
    """12 clips in two folds: dark in fold 0, bright in fold 1, a square that moves right."""
    folds = np.arange(12) % 2
    base = np.where(folds, 150, 30)[:, None, None, None, None]
    frames = base + rng.integers(0, 20, (12, 4, 32, 32, 3))
    masks = np.zeros((12, 4, 32, 32), np.uint8)
    for t in range(4):
        masks[:, t, 8:20, 4 + 3 * t : 16 + 3 * t] = 1
    frames[masks > 0] += 60
    maps = rng.normal(size=(12, 4, 2, 2, 6)).astype(np.float16)
    return frames.astype(np.uint8), masks, folds, np.arange(12) // 2 % 3, maps, 8.0


@pytest.mark.parametrize("remedy", versions.REMEDIES)
def test_every_clip_is_changed_by_its_own_fold_alone(remedy, clips):
    frames, masks, folds, *rest = clips
    changed = versions.change(remedy, frames, masks, folds, *rest)
    assert changed.shape == frames.shape and changed.dtype == np.uint8
    # A frame mixed in by a share near 0 changes nothing.
    assert ((changed != frames).mean((1, 2, 3, 4)) > 0.05).sum() >= 10
    # Fold 0 is darker than 120 everywhere, fold 1 brighter: neither has lent to the other.
    assert changed[folds == 0].max() < 120 < changed[folds == 1].min()
    again = versions.change(remedy, frames, masks, folds, *rest)
    assert (again == changed).all()


def test_a_masked_person_is_the_mean_colour_and_the_rest_stays(clips):
    frames, masks, *rest = clips
    changed = versions.change("human_mask", frames, masks, *rest)
    assert (changed[masks == 0] == frames[masks == 0]).all()
    person = changed[0, 0][masks[0, 0] > 0]
    assert (person == person[0]).all()
    assert (np.abs(person[0] - frames[0, 0].mean((0, 1))) <= 0.5).all()


def test_stills_are_those_that_tell_their_class(clips):
    frames, _, _, targets, maps, length = clips
    maps = np.zeros_like(maps)
    # Of every clip the first two frames show the class, the others nothing.
    for n, target in enumerate(targets):
        maps[n, :2, ..., target] = 5
    stills = versions._telling(frames, maps, targets, length)
    expected = frames[:, :2].reshape(-1, *frames.shape[2:])
    assert {still.tobytes() for still in stills} == {frame.tobytes() for frame in expected}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"data.fame": 0.5}, set()),
        ({"loss.background_erasing": 1.0}, {ERASED}),
        ({"loss.human_mask": 0.5}, {MASKED, "person"}),
    ],
)
def test_a_batch_draws_between_a_clip_and_what_became_of_it(settings, names):
    from aacf_tf import recipes

    recipe = recipes.load_recipe("default")
    for path, value in settings.items():
        recipe = recipes.override(recipe, path, value)
    rows = 400
    inputs = {"features": np.zeros((rows, 1)), "has_conjugate": np.arange(rows) % 2 == 0}
    before = {*inputs}
    masked, changed = np.arange(rows) % 3 == 0, np.ones((rows, 1))
    frozen._apply(inputs, recipe, masked, changed, np.random.default_rng(0))
    assert {*inputs} == before | names
    chosen = inputs["features"][:, 0] == 1
    assert (inputs["has_conjugate"] == (np.arange(rows) % 2 == 0) & ~chosen).all()
    assert 0.4 < chosen.mean() < 0.6 if not names else not chosen.any()
    for name in names - {"person"}:
        assert (inputs[name] == changed).all()
    assert "person" not in names or (inputs["person"] == masked).all()
