"""The benchmark on real videos, pretrained: folds, scenes, answers, one small grid."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import special
from sklearn.metrics import average_precision_score

from benchmarks import answers, folds, frozen, pretrained
from tfrecords import ClipPair, write_dataset
from tfrecords.records import codec
from tfrecords.records.dataset import load_info
from tfrecords.utils.errors import UsageError

SETTINGS = [
    ("backbone", "small"),
    ("backbone_options", '{"width": 8}'),
    ("weights", ""),
    ("data.height", "32"),
    ("data.width", "32"),
    ("data.crop", "1"),
    ("stages.0.epochs", "1"),
    ("stages.0.batch_size", "4"),
]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Bright squares, left or right, two photographs of each clip; the last has no actor."""
    random = np.random.default_rng(0)
    splits = {"train": [], "test": []}
    for n in range(24):
        scene = random.integers(0, 120, (1, 32, 32, 3)).astype(np.uint8)
        mask = np.zeros((1, 32, 32), bool)
        mask[:, 8:20, 2 + 14 * (n % 2) :][:, :, :12] = True
        clip = np.where(mask[..., None], np.uint8(220), scene)
        split, label = "train" if n < 16 else "test", ("left", "right")[n % 2]
        known = mask if n < 23 else None
        pair = ClipPair(
            f"clip-{n // 4}-{n % 2}#{n // 2 % 2}",
            clip,
            scene,
            (label,),
            1.0,
            known,
            f"{n // 4}.avi",
        )
        splits[split].append(pair)
    folder = tmp_path_factory.mktemp("photographs") / "data"
    write_dataset(folder, splits, ["left", "right"], num_shards=2)
    return folder


@pytest.fixture
def grid(photographs, tmp_path):
    groups = {"0.avi": "a", "1.avi": "a"}
    return pretrained.Grid("frozen", photographs, tmp_path / "real", groups, 2, 1, SETTINGS)


def test_groups_stay_together_and_classes_are_spread():
    groups = [f"group-{n // 3}" for n in range(60)]
    labels = [f"class-{n // 15}" for n in range(60)]
    found = folds.assign_folds(groups, labels, 5)
    assert all(len({*found[n : n + 3]}) == 1 for n in range(0, 60, 3))
    for start in range(0, 60, 15):
        assert np.bincount(found[start : start + 15]).tolist() == [3] * 5
    with pytest.raises(UsageError, match="--folds: expected at most the 20 groups, received 21"):
        folds.assign_folds(groups, labels, 21)


def test_groups_are_read_from_a_table(tmp_path):
    path = tmp_path / "clips.csv"
    path.write_text("video,label,source_group\na.mp4,walk,v1\n")
    assert folds.read_groups(path) == {"a.mp4": "v1"} and folds.read_groups(None) == {}
    path.write_text("video,label\na.mp4,walk\n")
    with pytest.raises(UsageError, match=r"--groups: expected columns .* in .*clips\.csv"):
        folds.read_groups(path)


def test_actors_stand_in_scenes_of_their_own_fold(photographs, tmp_path, grid):
    composed = folds.compose(photographs, tmp_path / "composed", grid.groups, 2)
    notes = folds.read_notes(composed)
    for split in ("train_s", "train_twin0", "train_twin1"):
        for name, of in notes[split].items():
            assert notes["folds"][name] == notes["folds"][of["scene"]] and name != of["scene"]
    own = ("left", "right")
    assert all(of["label"] != own[int(name[7])] for name, of in notes["train_s"].items())
    assert {notes["folds"][name] for name in notes["folds"] if name[5] in "01"} in ({0}, {1})
    # The one without a mask has no twin, and lends no scene.
    assert len(notes["test_s"]) == 7 == load_info(composed).splits["test_s"]["clips"]
    place = folds.write_place(photographs, composed, "fold1", tmp_path / "fold1")
    counts = {split: of["clips"] for split, of in load_info(place).splits.items()}
    held = sum(fold == 1 for fold in notes["folds"].values())
    assert counts == {"train": 16 - held, "test": held, "test_s": held} and 0 < held < 16
    record = next(iter(folds.tf.data.TFRecordDataset(str(place / "test-00000-of-00001.tfrecord"))))
    assert notes["folds"][codec.decode(record.numpy()).id] == 1
    assert folds.compose(photographs, composed, grid.groups, 2) == composed
    with pytest.raises(UsageError, match="these folds and groups, received other ones"):
        folds.compose(photographs, composed, {}, 2)


def test_mean_ap_is_that_of_scikit_learn(rng):
    scores, targets = rng.random((40, 5)), rng.integers(0, 4, 40)  # class 4 has no clip
    expected = [average_precision_score(targets == k, scores[:, k]) for k in range(4)]
    assert answers.mean_ap(scores, targets) == pytest.approx(np.mean(expected))


def made(right: float, scenes: int = 1) -> answers.Answers:
    """40 photographs of 20 clips of class 0 or 1; a share `right` of the answers is right."""
    targets = np.arange(40) // 2 % 2
    chances = np.where(np.arange(40) < 40 * right, 0.9, 0.2)
    probabilities = np.stack([np.where(targets == k, chances, 1 - chances) for k in (0, 1)], 1)
    nothing = np.full(40, np.nan)
    clips = np.array([f"clip{n // 2}" for n in range(40)])
    scores = {"combined": probabilities, "action": probabilities, "context": probabilities}
    return answers.Answers(
        clips, targets, 1 - targets, scores, scores, nothing, nothing, nothing, targets > 0
    )


def test_differences_are_paired(tmp_path):
    better, worse = made(0.75), made(0.5)
    better.save(tmp_path / "cell.npz")
    again = answers.Answers.load(tmp_path / "cell.npz")
    assert (again.x["combined"] == better.x["combined"]).all() and (again.clip == better.clip).all()
    one, other = (answers.resample([cell], "combined", 100) for cell in (again, worse))
    assert one["x1"][0] == 0.75 and one["follow"][0] == 0.25 and "pointing" not in one
    assert 0.05 < one["x1"][1:].std() < 0.15
    # Ten photographs, five clips, lie between them: far less than two independent errors.
    assert (one["x1"] - other["x1"])[1:].std() < (one["x1"][1:].std() + other["x1"][1:].std()) / 1.3
    assert answers.spread(np.array([0.5, 0.4, 0.6])) == "0.500 ±0.141"


def test_experts_are_added_as_logits(rng):
    logits = {name: rng.normal(size=(40, 2)) for name in ("action", "average", "context")}
    scores = {name: special.softmax(values, -1) for name, values in logits.items()}
    cell = answers.replace(made(0.5), x=scores, s=scores)
    expected = logits["action"] + 0.5 * logits["average"] + 0.2 * logits["context"]
    found = answers.combine(cell, 0.5, 0.2)
    np.testing.assert_allclose(found.x["combined"], special.softmax(expected, -1), atol=1e-9)
    # Without an average expert, as in the form scratch.
    cell = answers.replace(cell, x={k: v for k, v in scores.items() if k != "average"})
    expected = special.softmax(logits["action"] + logits["context"], -1)
    one = answers.combine(cell, 0.0, 1.0)
    np.testing.assert_allclose(one.x["combined"], expected, atol=1e-9)
    both = answers.ensemble(one, found).x["combined"]
    np.testing.assert_allclose(both.sum(-1), 1)
    assert answers.ensemble(one, one).x["combined"].argmax(-1).tolist() == (
        expected.argmax(-1).tolist()
    )


def test_selection_takes_the_best_of_aacf_beside_average_pooling():
    figures = {"average": 0.5, "average_swap": 0.4, "apart": 0.4, "apart_swap": 0.45, "scratch": 1}
    found = {name: {"x": np.array([v]), "s": np.array([v])} for name, v in figures.items()}
    assert pretrained.select(found) == ["average", "average_swap", "apart_swap"]


def test_recipes_of_the_grid(grid):
    still = {"fame", "background_erasing"}  # photographs do not move
    assert set(pretrained.choices(grid)) == set(pretrained.VARIANTS) - still
    recipe = pretrained.make_recipe(grid, "apart_swap")
    assert recipe.loss.form == "apart" and recipe.data.swap == 0.5 and recipe.score == "combined"
    assert [stage.backbone_rate for stage in recipe.stages] == [0.0]
    both = answers.replace(grid, settings=[*SETTINGS, ("data.swap", "0.5")])
    with pytest.raises(UsageError, match=r"frozen features, .* received swap and stillmix"):
        pretrained.make_recipe(both, "stillmix")
    tuned = pretrained.Grid("tuned", grid.data, grid.workdir, {}, 2, 1)
    recipe = pretrained.make_recipe(tuned, "human_mask")
    assert recipe.loss.human_mask == 0.5 and recipe.score == "combined"
    assert recipe.backbone == pretrained.BACKBONE and recipe.weights == "imagenet"


def test_a_grid_is_selected_tested_once_and_resumed(grid, monkeypatch, capsys):
    names, trained = ["average", "average_swap", "apart_swap", "apart"], []

    def measure_frozen(grid, composed):
        def measure(recipe, place, folder):
            trained.append((folder.name, recipe.seed))
            right = 0.5 + 0.25 * bool(recipe.data.swap)
            cell = made(right)
            if recipe.head != "aacf":
                return answers.replace(cell, x={"combined": cell.x["action"]}, s=cell.s)
            scores = {**cell.x, "average": cell.x["action"]}
            return answers.replace(cell, x=scores, s=scores, pointing=np.full(40, right))

        return measure

    monkeypatch.setattr(pretrained, "measure_frozen", measure_frozen)
    pretrained.run(grid, names)
    printed = capsys.readouterr().out
    assert "| apart_swap - average + average_swap |" in printed
    assert "Selected by the folds: average, average_swap, apart_swap" in printed
    assert len(trained) == 2 * 4 + 3  # two folds; of the test what was selected
    results = json.loads((grid.folder / "results.json").read_text())
    assert results["folds"]["apart"]["x1"][0] == 0.5
    assert results["official"]["apart_swap"]["pointing"] == [0.75, 0.0]
    assert set(results["official"]) == {"average", "average_swap", "apart_swap", pretrained.BOTH}
    # Another score, or other weights of it, need no training; another training does.
    weighed = answers.replace(grid, settings=[*SETTINGS, ("average_weight", "0.5")])
    pretrained.run(weighed, names)
    assert len(trained) == 2 * 4 + 3
    other = answers.replace(grid, settings=[*SETTINGS, ("stages.0.epochs", "2")])
    with pytest.raises(UsageError, match="--workdir: expected answers with these settings"):
        pretrained.run(other, names)


def test_a_swapped_row_has_its_partner_s_scene():
    maps = np.arange(4, dtype=np.float16)[:, None, None, None, None]
    partners = np.array([[1, 2], [0, -1], [3, 3], [-1, -1]])
    material = frozen.Material(
        id=np.array(list("abcd")),
        targets=np.array([0, 1, 0, 1]),
        clip=maps,
        conjugate=maps + 10,
        s=maps + 20,
        twins=np.stack([maps + 30, maps + 40], 1),
        partners=partners,
        in_s=np.array([True, True, True, False]),
        paired=np.array([True, False, True, True]),
        coverage=maps[..., 0],
        masked=np.ones(4, bool),
    )
    rows, random = np.arange(4), np.random.default_rng(0)
    inputs, targets = frozen._draw(material, rows, 0.0, random)
    assert "swapped" not in inputs and targets.tolist() == [0, 1, 0, 1]
    assert inputs["has_conjugate"].tolist() == [True, False, True, True]
    for _ in range(9):
        inputs, targets = frozen._draw(material, rows, 1.0, random)
        features = inputs["features"].ravel().astype(int)
        twin = np.where(inputs["swapped"], features // 10 - 3, -1)
        for n in rows:
            whose = partners[n, twin[n]] if inputs["swapped"][n] else n
            assert features[n] % 10 == n and inputs["conjugate_features"].ravel()[n] == 10 + whose
            assert inputs["context_target"][n] == material.targets[whose]
        assert not inputs["swapped"][3] and inputs["swapped"][[0, 2]].all()
    assert (material.clip == maps).all()  # features are copied, not written to


@pytest.mark.slow
def test_frozen_grid(grid):
    names, remedies = ["average", "apart_swap"], ["stillmix", "human_mask"]
    pretrained.run(grid, names + remedies)
    results = json.loads((grid.folder / "results.json").read_text())
    assert {*results["official"]} == {*names}
    for part in ("folds", "official"):
        for name in names + remedies * (part == "folds"):
            found = results[part][name]
            assert all(0 <= found[key][0] <= 1 for key in ("x", "s", "follow", "auc", "far auc"))
    assert "x average" in results["folds"]["apart_swap"]


@pytest.mark.slow
def test_tuned_grid(grid):
    tuned = answers.replace(grid, setting="tuned")
    pretrained.run(tuned, ["average"])
    results = json.loads((tuned.folder / "results.json").read_text())
    assert 0 <= results["official"]["average"]["x"][0] <= 1
    assert not list((tuned.folder / "runs").iterdir())
