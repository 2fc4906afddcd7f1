"""A run's directory: one training at a time, and files that are missing or damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from aacf_tf import pipeline, recipes
from aacf_tf.evaluation.metrics import read_metrics
from aacf_tf.runs import directory
from aacf_tf.runs.run import Run, read_stills
from aacf_tf.training import loop
from tfrecords.utils.errors import UsageError, UserError

CHECKPOINTS = "checkpoints/main"
# Name of a damage -> the file's content.
DAMAGE = {
    "empty": b"",
    "cut": b'[{"epoch": 1, "loss',
    "not UTF-8": b"\xff\xfe\x00",
    "deep": b'{"a":' * 100_000,
    "nan": b'{"recipe": NaN}',
    "null": b"null",
    "number": b"3",
    "text": b'"text"',
    "other": b'{"splits": 3, "recipe": [1], "stages": {}}',
    "list": b'[{"epoch": "one"}]',
}


@pytest.fixture
def run(tiny_recipe, squares_data, tmp_path) -> Run:
    return Run.open(tiny_recipe, squares_data, tmp_path)


def lay(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_second_training_is_refused(run, monkeypatch):
    def second(current):
        holder = rf"Another run is working in {run.workdir} \(process {os.getpid()} on .*\)\."
        for mode in ("all", "train"):
            with pytest.raises(UsageError, match=f"^{holder}$"):
                pipeline.run(run.recipe, run.data, run.workdir, mode=mode)
        with pytest.raises(UsageError, match="expected a trained run"):  # no need to wait for it
            pipeline.run(run.recipe, run.data, run.workdir, mode="evaluate")
        seen.append(current.workdir)

    seen = []
    monkeypatch.setattr(loop, "train", second)
    pipeline.run(run.recipe, run.data, run.workdir, mode="train")
    assert seen == [run.workdir, run.workdir / "baselines/average"]
    assert [path.name for path in run.workdir.iterdir()] == ["config.json"]


def test_what_a_killed_run_left_is_cleared(tmp_path):
    for folder in (tmp_path, tmp_path / "baselines/average", tmp_path / "stillmix"):
        for name in ("config.json", "logs/main/history.csv", "report/index.html"):
            lay(folder / f"{name}.tmp")
        lay(folder / "export/aacf/2.tmp/saved_model.pb")
        for name in ("", "best/"):
            lay(folder / CHECKPOINTS / f"{name}ckpt-4_temp" / "part-00000-of-00001.index")
            lay(folder / CHECKPOINTS / f"{name}checkpoint.tmp01")
    mine = lay(tmp_path / "notes" / "mine.tmp")
    with directory.alone(tmp_path):
        left = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {mine, tmp_path / ".lock"} and not (tmp_path / "export/aacf/2.tmp").exists()


@pytest.mark.parametrize("name", ["ckpt-4.index", "checkpoint", "ckpt-4_temp/part"])
def test_a_run_without_its_settings_is_not_begun_anew(run, name):
    lay(run.workdir / CHECKPOINTS / name)
    with pytest.raises(UserError, match=r"config\.json cannot be read: No such .*; copy the file"):
        directory.claim(run, resume=True, new=True, chief=True)
    assert not (run.workdir / "config.json").exists()


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_settings(run, damage):
    lay(run.workdir / CHECKPOINTS / "ckpt-4.index")
    path = lay(run.workdir / "config.json", DAMAGE[damage])
    with pytest.raises(
        UserError, match=rf"{path}: expected .*; copy the file back, or give"
    ) as told:
        directory.claim(run, resume=True, new=True, chief=True)
    assert path.read_bytes() == DAMAGE[damage]
    with pytest.raises(UsageError, match=rf"--recipe: expected the config.json .* {path}") as given:
        recipes.load_recipe(str(path))
    assert all("\n" not in str(error.value) for error in (told, given))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("name",), 3),
        (("data",), []),
        (("stages",), {"0": 1}),
        (("stages",), [[]]),
        (("stages", 0, "epochs"), "many"),
        (("stages", 0, "milestones"), [[1]]),
        (("stages", 0, "milestones"), [[10**18, "x"]]),
        (("loss", "context"), {"a": 1}),
        (("backbone_options",), "wide"),
    ],
)
def test_a_wrong_value_in_the_settings(run, place, value):
    directory.claim(run, resume=True, new=True, chief=True)
    path = run.workdir / "config.json"
    content = json.loads(path.read_text())
    node = content["recipe"]
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    path.write_text(json.dumps(content))
    lay(run.workdir / CHECKPOINTS / "ckpt-4.index")
    name = ".".join(map(str, place))
    with pytest.raises(
        UserError, match=rf"{path}: expected the recipe of a run \({name}.*: expected"
    ):
        directory.claim(run, resume=True, new=True, chief=True)
    with pytest.raises(UsageError, match=rf"{path} \({name}.*: expected"):
        recipes.load_recipe(str(path))


@pytest.mark.parametrize("content", [*DAMAGE.values(), b"[{}]", b'[{"epoch": 2, "loss": 1}]'])
def test_a_damaged_history(tmp_path, content):
    path = lay(tmp_path / "history.json", content)
    with pytest.raises(UserError, match=rf"{path}: expected .*; copy the file back, or give"):
        directory.read_history(path)
    assert directory.read_history(tmp_path / "absent.json") == []


GOOD = {
    "recipe": "demo",
    "head": "aacf",
    "labels": ["a"],
    "splits": {
        "test": {
            "clips": 3,
            "action": {"top1": 1.0, "mean_ap": None, "per_class_ap": {"a": None}},
            "reliability": {"top1": 1.0, "mean_ap": 1, "context_trust": 0.5},
            "localization": {"action_mass": 0.5, "off_centre_third": {"action_mass": None}},
        }
    },
}


@pytest.mark.parametrize("content", [b"", b"frames", b"\x93NUMPY\x01\x00v\x00{'descr'"])
def test_damaged_frames_of_stillmix(tmp_path, content):
    path = lay(tmp_path / "frames.npy", content)
    with pytest.raises(UserError, match=r"frames\.npy: expected frames, .*; remove it"):
        read_stills(path)
    np.save(path, np.zeros((2, 3, 3, 3), np.float32))
    with pytest.raises(UserError, match=r"damaged file \(float32 \[2, 3, 3, 3\]\)"):
        read_stills(path)
    np.save(path, np.zeros((2, 3, 3, 3), np.uint8))
    assert read_stills(path).shape == (2, 3, 3, 3)


def test_metrics_as_they_are_written(tmp_path):
    lay(tmp_path / "metrics.json", json.dumps(GOOD).encode())
    assert read_metrics(tmp_path) == GOOD
    assert read_metrics(tmp_path / "absent") is None


@pytest.mark.parametrize("content", DAMAGE.values())
def test_damaged_metrics(tmp_path, content):
    path = lay(tmp_path / "metrics.json", content)
    with pytest.raises(UserError, match=rf"{path}: expected .*; --mode=evaluate writes it anew\."):
        read_metrics(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("clips", "three", "splits.test.clips to be a whole number"),
        ("action", {"top1": 1}, "the field splits.test.action.mean_ap"),
        ("action", {"top1": "x", "mean_ap": 1}, "splits.test.action.top1 to be a number"),
        ("reliability", {"top1": 1, "mean_ap": 1}, "reliability.context_trust"),
        ("localization", {"action_mass": {}}, "localization.action_mass to hold numbers"),
        ("localization", {"off_centre_third": {"x": "y"}}, "off_centre_third to hold numbers"),
        ("localization", {"mask_area": "x"}, "localization.mask_area to hold numbers"),
    ],
)
def test_a_wrong_value_in_the_metrics(tmp_path, name, value, message):
    split = {**GOOD["splits"]["test"], name: value}
    content = json.dumps({**GOOD, "splits": {"test": split}}).encode()
    lay(tmp_path / "metrics.json", content)
    with pytest.raises(UserError, match=rf"metrics\.json: expected .*{message}"):
        read_metrics(tmp_path)
