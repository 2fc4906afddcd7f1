"""The benchmark of the method: its plan, its settings, its runs on tiny data, its table."""

from __future__ import annotations

import json

import pytest

from aacf_tf.recipes import FACTOR_TERMS, HEADS
from benchmarks import method, pretraining, tables
from benchmarks.method import Cell
from tfrecords.utils.errors import UsageError


def test_plan():
    whole = method.plan(3, method.SETTINGS, HEADS, quick=False, ablate=False)
    assert len(whole) == len(set(whole)) == 3 * 3 * len(HEADS)
    quick = method.plan(1, method.SETTINGS, HEADS, quick=True, ablate=False)
    assert len(quick) == len(HEADS) + 2 * 2
    ablation = method.plan(5, method.SETTINGS, HEADS, quick=False, ablate=True)
    assert len(ablation) == 5 * 2 * (1 + len(FACTOR_TERMS))
    assert {cell.head for cell in ablation} == {"aacf"}


def test_every_term_is_removed_in_turn():
    full = Cell("scratch", "aacf", 2).recipe()
    for term in FACTOR_TERMS:
        changed = Cell("scratch", f"no_{term}", 2).recipe().loss.weights()
        assert changed == {**full.loss.weights(), term: 0.0}


def test_settings():
    frozen, finetuned, scratch = (
        Cell(setting, "average", 1).recipe() for setting in method.SETTINGS
    )
    assert frozen.stages[0].backbone_rate == 0 and frozen.stages[0].batch_size == 32
    assert finetuned.stages[0].backbone_rate == 0.1 and finetuned.stages[0].epochs == 3
    assert scratch.stages[0].backbone_rate == 1 and scratch.stages[0].epochs == 24
    assert {recipe.head for recipe in (frozen, finetuned, scratch)} == {"average"}
    assert {recipe.seed for recipe in (frozen, finetuned, scratch)} == {1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    method.SETTINGS,
)
def test_a_run_ends_in_metrics(setting, squares_data, tmp_path, monkeypatch):
    if setting == "scratch":
        plain = Cell.recipe
        monkeypatch.setattr(Cell, "recipe", lambda cell: _short(plain(cell)))
    else:
        monkeypatch.setattr(pretraining, "HELD_OUT", 12)
        monkeypatch.setattr(pretraining, "BATCH_SIZE", 6)
        whole = pretraining.pretrain
        monkeypatch.setattr(
            pretraining,
            "pretrain",
            lambda *arguments: whole(*arguments, clips=12, epochs=1),
        )
    cells = [Cell(setting, "aacf", 0)]
    cells += [Cell(setting, "average_uniform", 0)] if setting == "frozen" else []
    for cell in cells:
        method._run(cell, "demo", squares_data, tmp_path)
    results = tables.collect(cells, tmp_path)
    measures = results[setting]["aacf"]
    assert len(measures["test/action"]) == 1 and 0 <= measures["test/action"][0] <= 1
    assert "combined" in tables.table(results, setting)
    tables.plot(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def _short(recipe):
    from aacf_tf.recipes import override

    return override(override(recipe, "stages.0.epochs", 1), "stages.0.batch_size", 4)


def test_table_has_mean_and_deviation(tmp_path):
    cells = [Cell("frozen", head, seed) for head in ("average", "aacf") for seed in (0, 1)]
    for cell in cells:
        score = {"top1": 0.2 + 0.1 * cell.seed, "mean_ap": 0.5}
        entry = {"clips": 8, "combined": score}
        if cell.head == "aacf":
            entry["action"] = {**score, "top1": 0.8}
        content = {"recipe": "demo", "head": cell.head, "labels": ["a"]}
        content["splits"] = dict.fromkeys(tables.SPLITS, entry)
        content["splits"]["test_uniform"] = {**entry, "localization": {"action_mass": 0.7}}
        folder = cell.folder(tmp_path)
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(content))
    lines = tables.table(tables.collect(cells, tmp_path), "frozen").splitlines()
    average, ours = (line for line in lines if line.startswith(("| average", "| aacf")))
    assert average.split("|")[2].strip() == "0.250 ±0.071"
    assert ours.split("|")[2].strip() == "0.800 ±0.000 / 0.250 ±0.071"
    assert "0.700 ±0.000" in ours
    assert "2 seeds" in lines[0]


def test_assignments():
    recipe = Cell("scratch", "aacf", 0, ("loss.time_spread_floor=0.4",)).recipe()
    assert recipe.loss.time_spread_floor == 0.4
    for wrong in ("loss.time_spread_floor", "loss.nothing=1", "loss.context=-1", "seed=3"):
        with pytest.raises(UsageError, match="expected"):
            Cell("scratch", "aacf", 0, (wrong,)).recipe()


def test_a_folder_of_another_run_is_refused(squares_data, tmp_path):
    cell = Cell("frozen", "aacf", 0)
    for _ in range(2):
        assert not method._done(cell, "demo", squares_data, tmp_path)
    (cell.folder(tmp_path) / "metrics.json").touch()
    assert method._done(cell, "demo", squares_data, tmp_path)
    other = Cell("frozen", "aacf", 0, ("loss.context=0",))
    with pytest.raises(UsageError, match="received another one"):
        method._done(other, "demo", squares_data, tmp_path)
