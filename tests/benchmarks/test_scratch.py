"""The benchmark on real videos from scratch: variants, one run on tiny data, tables."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from aacf_tf import bias, recipes
from aacf_tf.bias import composites
from benchmarks import scratch
from tfrecords import ClipPair, write_dataset
from tfrecords.utils.errors import UsageError

SETTINGS = [
    ("data.frames", "4"),
    ("data.height", "32"),
    ("data.width", "32"),
    ("backbone_options", '{"width": 8}'),
    ("stages.0.epochs", "1"),
    ("stages.1.epochs", "1"),
    ("stages.0.batch_size", "4"),
    ("stages.1.batch_size", "4"),
]


def test_variants():
    found = {name: scratch.make_recipe(name) for name in scratch.VARIANTS}
    assert {recipe.head for recipe in found.values()} == set(recipes.HEADS)
    assert set(scratch.DEFAULT) <= set(found)
    assert len(found["average"].stages) == 1
    first = found["average"].stages[0]
    assert all(recipe.stages[0] == first and recipe.data.fps == 15 for recipe in found.values())
    assert (found["swap"].data.swap, found["swap"].data.frozen_conjugates) == (0.67, 0)
    assert found["swap_difference"].loss.difference == 1
    assert (found["aacf"].data.swap, found["aacf"].data.frozen_conjugates) == (0, 0.5)
    tuned = found["average_tuned"]
    for name, part, field in (
        ("fame", "data", "fame"),
        ("stillmix", "data", "stillmix"),
        ("background_erasing", "loss", "background_erasing"),
        ("human_mask", "loss", "human_mask"),
    ):
        # Average pooling with that remedy, and nothing else.
        assert getattr(getattr(found[name], part), field) > 0
        plain = dataclasses.replace(getattr(found[name], part), **{field: 0.0})
        assert dataclasses.replace(found[name], **{part: plain}) == tuned
    with pytest.raises(UsageError, match=r"--variants: .*received 'best'"):
        scratch.make_recipe("best")


@pytest.fixture
def actors(rng, tmp_path):
    """Squares that go right or down; a scene for each clip."""
    splits = {"train": [], "test": []}
    for n in range(20):
        label = ("down", "right")[n % 2]
        scene = np.repeat(rng.integers(0, 120, (1, 32, 32, 3)), 6, axis=0).astype(np.uint8)
        mask = np.zeros((6, 32, 32), bool)
        for t in range(6):
            y, x = (10, 4 + 2 * t) if label == "right" else (4 + 2 * t, 10)
            mask[t, y : y + 8, x : x + 8] = True
        clip = np.where(mask[..., None], np.uint8(220), scene)
        split = "train" if n < 12 else "test"
        splits[split].append(ClipPair(f"clip-{n}", clip, scene, (label,), 15.0, mask))
    write_dataset(tmp_path / "data", splits, ["down", "right"], num_shards=1)
    return tmp_path / "data"


def bias_of(recipe, data, workdir):
    """What the bias test says of a trained variant."""
    from aacf_tf.runs.run import Run
    from aacf_tf.training import restoring

    run = Run.open(recipe, data, workdir)
    model = restoring.restore(run, recipe.stages[-1])

    def predict(clips):
        return {"action": model({"clip": clips}, training=False)["action_scores"].numpy()}

    size = (recipe.data.height, recipe.data.width)
    options = {"fps": recipe.data.fps, "resize": recipe.data.resize}
    return bias.measure(
        predict, data, frames=recipe.data.frames, size=size, clips=0, **options
    ).content


@pytest.mark.slow
def test_variants_are_trained_measured_and_resumed(actors, tmp_path, capsys):
    sets = composites.build_composites(actors, tmp_path / "sets")
    workdir = tmp_path / "real"
    average = scratch.make_recipe("average", SETTINGS)
    for name in ("swap", "average", "attention"):
        recipe = scratch.make_recipe(name, SETTINGS)
        scratch.run_variant(name, recipe, average, actors, sets, workdir)
    results = scratch.collect(workdir)
    assert list(results) == ["average", "swap", "attention"]
    swap = results["swap"]
    assert set(swap["accuracy"]) == {"x", "c", "s", "p"}
    for scores in (*swap["accuracy"].values(), swap["follow"]):
        assert set(scores) == {"action", "context", "combined"}
        assert all(0 <= v["share"] <= 1 and v["clips"] == 8 for v in scores.values())
    # Two classes: what is not right on S goes by the scene.
    assert swap["accuracy"]["s"]["action"]["share"] + swap["follow"]["action"]["share"] == 1
    assert set(swap["presence"]) == {"x_p", "p_c", "x_c"}
    assert "presence" not in results["average"] and "presence" not in results["attention"]
    assert "context_auc" not in results["average"]
    for measure in ("action_auc", "mean_mask_auc", "frame_difference_auc", "context_auc"):
        assert 0 <= swap["localization"][measure] <= 1
        assert 0 <= swap["localization"]["off_centre_third"][measure] <= 1
    found_bias = bias_of(scratch.make_recipe("swap", SETTINGS), actors, workdir / "variants/swap")
    for name, of in (("original", "x"), ("swap_other", "s"), ("background_only", "c")):
        found, expected = found_bias["sets"][name]["scores"], swap["accuracy"][of]
        assert found["action"]["share"] == expected["action"]["share"], name
    follow = found_bias["sets"]["swap_other"]["follow"]["action"]["share"]
    assert follow == swap["follow"]["action"]["share"]

    # The same backbone for all, trained once.
    histories = {
        (workdir / "variants" / name / "logs/backbone/history.json").read_text() for name in results
    }
    assert len(histories) == 1

    tables = scratch.render(results)
    assert f"| swap | {swap['accuracy']['x']['action']['share']:.3f} ±" in tables
    assert "(no learning: mean training mask)" in tables and "presence X-P" in tables
    scratch.plot(results, workdir / "results.png")
    assert (workdir / "results.png").stat().st_size > 5000

    capsys.readouterr()
    scratch.run_variant(
        "swap", scratch.make_recipe("swap", SETTINGS), average, actors, sets, workdir
    )
    assert capsys.readouterr().out == "swap: measured already\n"
    other = scratch.make_recipe("swap", [*SETTINGS, ("loss.presence", "0.1")])
    with pytest.raises(UsageError, match=r"expected a run with these settings .*variants/swap"):
        scratch.run_variant("swap", other, average, actors, sets, workdir)
    json.dumps(results, allow_nan=False)


def test_claims_are_judged_by_the_numbers():
    share = {"share": 0.25, "error": 0.0, "clips": 268}
    place = {"action_pointing": 0.6, "action_auc": 0.6, "context_auc": 0.2}
    place["off_centre_third"] = {"action_auc": 0.7}
    scores = {"action": share, "combined": share}
    ours = {
        "accuracy": {"x": scores, "c": scores, "s": scores},
        "follow": {"action": {**share, "share": 0.1}},
        "localization": place,
        "presence": {"x_p": 0.5, "p_c": 0.5},
    }
    low = {"combined": {**share, "share": 0.15}}
    theirs = {"accuracy": {"x": {"combined": share}, "s": low}, "follow": low}
    judged = [
        (round(value, 3), least <= value <= most)
        for _, value, least, most in scratch.claims({"swap": ours, "average": theirs})
    ]
    assert judged == [
        (0.1, True),
        (0.667, True),
        (1.0, False),
        (0.0, True),
        (0.6, True),
        (0.6, False),
        (0.7, True),
        (0.2, True),
        (0.5, True),
        (0.5, False),
    ]
