"""What is measured on classifiers that go by the scene, and on some that do not."""

from __future__ import annotations

import numpy as np
import pytest

from aacf_tf.bias import describe, measure
from aacf_tf.bias.judging import bootstrap, share
from tfrecords import ClipPair, write_dataset
from tfrecords.utils.errors import UsageError, UserError

SIZE = {"frames": 6, "size": (40, 48)}
CHANNELS = [2, 1, 0]  # of the classes, in order


def by_scene(clips):
    """The channel that is the brightest on the rim, as logits."""
    return clips[:, :, :4].mean((1, 2, 3))[:, CHANNELS]


def by_actor(clips):
    """The channel of the brightest pixels, as probabilities; a map of them, and of the rest."""
    bright = clips.max(-1) > 240
    counts = (clips == 250).sum((1, 2, 3))[:, CHANNELS] + 1e-3
    probabilities = counts / counts.sum(-1, keepdims=True)
    cells = bright.reshape(-1, 6, 10, 4, 12, 4).mean((3, 5))
    return {"actor": probabilities, "scene": by_scene(clips), "action_map": cells}


@pytest.fixture(scope="module")
def found(coloured_data):
    return measure(by_actor, coloured_data, threshold=0.0, **SIZE)


def test_who_goes_by_the_scene_follows_it(found):
    sets = found.content["sets"]
    score = {name: {s: v["share"] for s, v in e["scores"].items()} for name, e in sets.items()}
    for name in ("original", "swap_same", "one_frame", "placebo"):
        assert score[name] == {"actor": 1, "scene": 1}, name
    assert score["swap_other"] == {"actor": 1, "scene": 0}
    assert score["background_only"]["scene"] == 1
    assert score["background_only"]["actor"] < 1
    assert score["human_only"]["actor"] == score["stripes"]["actor"] == 1
    assert score["human_only"]["scene"] < 0.5
    follow = sets["swap_other"]["follow"]
    assert (follow["actor"]["share"], follow["scene"]["share"]) == (0, 1)
    assert follow["scene"]["before"]["share"] == 0 and follow["scene"]["clips"] == 12
    assert "follow" not in sets["swap_same"]
    change = sets["swap_other"]["scores"]["scene"]["change"]
    assert (change["share"], change["low"], change["high"]) == (-1, -1, -1)
    assert found.content["values"] == {"actor": "probabilities", "scene": "logits"}
    assert found.content["stripes_only_moving"]["actor"]["share"] == 0


def test_maps_are_judged_where_the_actor_is(found):
    sets = found.content["sets"]
    assert sets["swap_other"]["maps"]["action_map"] == {"pointing": 1, "mass": 1, "auc": 1}
    assert "maps" not in sets["background_only"]


def test_what_was_tested_is_said(found):
    content = found.content
    assert (content["split"], content["clips"], content["of"]) == ("test", 12, 13)
    assert content["masks"] == "annotated" and content["left_out"] == {"no class": 1}
    text = describe(content)
    assert "masks    annotated" in text and "12 of 13 clips (left out: no class: 1)" in text
    assert "In the scene of another class 100.0% are right and 0.0% take the scene's" in text
    assert {len(examples) for examples in found.examples.values()} == {3}
    swapped = found.examples["swap_other"]
    assert all(e.right and e.label == e.predicted and e.scene != e.label for e in swapped)


def test_motion_stands_in_for_masks(coloured_data):
    bias = measure(by_actor, coloured_data, "test_bare", clips=6, threshold=0.0, **SIZE)
    assert bias.content["masks"] == "motion" and bias.content["clips"] == 6
    assert bias.content["sets"]["swap_other"]["scores"]["actor"]["share"] == 1
    assert "automatic, from motion" in describe(bias.content)


def test_the_same_seed_gives_the_same(coloured_data):
    twice = [measure(by_scene, coloured_data, clips=7, seed=3, **SIZE).content for _ in range(2)]
    assert twice[0] == twice[1] and twice[0]["clips"] == 7


def test_a_classifier_of_single_frames_has_no_still_sets(coloured_data):
    bias = measure(by_scene, coloured_data, frames=1, size=(40, 48), clips=3)
    assert "one_frame" not in bias.content["sets"] and bias.content["sets"]["plain"]["clips"] == 3
    describe(bias.content)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "test_bare", "masks": "annotated"}, UsageError, "a mask of the actor in split"),
        ({"split": "validation"}, UsageError, "received 'validation'"),
        ({"labels": ["blue", "green", "black"]}, UsageError, "without 'red'"),
        ({"labels": ["blue", "green", "red", "black"]}, UsageError, "Expected 4 classes"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(coloured_data, options, error, message):
    with pytest.raises(error, match=message):
        measure(by_scene, coloured_data, **SIZE, **options)


def test_answers_that_are_no_numbers_are_refused(coloured_data):
    with pytest.raises(UserError, match="received NaN or infinity"):
        measure(lambda clips: np.full((len(clips), 3), np.nan), coloured_data, **SIZE)


def test_clips_in_which_nothing_moves_have_no_automatic_mask(tmp_path):
    still = np.random.default_rng(0).integers(0, 255, (1, 40, 48, 3)).astype(np.uint8)
    pairs = [ClipPair(n, still, None, (n,), 6.0) for n in ("a", "b")]
    write_dataset(tmp_path / "data", {"test": pairs}, ["a", "b"])
    with pytest.raises(UsageError, match=r"masks motion, received none \(no motion in 2\)"):
        measure(by_scene, tmp_path / "data", **SIZE)


def test_intervals():
    found = share(np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0]))
    assert found["share"] == pytest.approx(0.3)
    assert (found["low"], found["high"]) == pytest.approx((0.1078, 0.6032), abs=1e-3)  # Wilson
    assert share(np.zeros(10))["high"] == pytest.approx(0.2775, abs=1e-3)
    mean, low, high = bootstrap(np.array([0.0] * 50 + [1.0] * 50))
    assert (
        mean == 0.5 and low == pytest.approx(0.4, abs=0.03) and high == pytest.approx(0.6, abs=0.03)
    )
