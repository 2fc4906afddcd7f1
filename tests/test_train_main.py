"""The main command: its flags, its errors, and the whole road on tiny data."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tfrecords import ClipPair, write_dataset
from tfrecords.utils.errors import UsageError

PROJECT = Path(__file__).resolve().parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(PROJECT / "train_main.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_help_is_quick_and_ours():
    start = time.monotonic()
    done = run("--help")
    assert done.returncode == 0 and not done.stderr
    assert "--recipe" in done.stdout and "--set" in done.stdout
    assert "--alsologtostderr" not in done.stdout
    # TensorFlow's import alone takes longer; this is no measure of speed.
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--nonsense=1"], "Unknown command line flag 'nonsense'"),
        (["--epochs=many"], "flag --epochs=many"),
        (["--recipe=nothing"], "--recipe: expected one of default, demo, jhmdb"),
        (["--recipe=jhmdb"], "--data: expected a data set directory"),
        (["--set=loss.nothing=1"], "--set loss.nothing: expected one of"),
        (["--set=loss.context"], "--set: expected field=value, received 'loss.context'"),
        # With weights the recipe has one stage; without, two.
        (["--recipe=stills", "--weights=a", "--set=stages.1.epochs=3"], "number 0..0, received 1"),
        (["--recipe=stills", "--set=stages.1.epochs=3", "--set=a"], "field=value, received 'a'"),
        (["--fine_tune"], "--fine_tune: expected --weights and the name of a recipe with it"),
        (["surplus"], "Expected flags only"),
        (["--mode=fly"], "--mode=fly"),
        (["--mode=report", "--workdir=a,b,a"], "--workdir: expected different directories as a,b"),
        (["--mode=report", "--workdir=a,b", "--epochs=3"], "--epochs: expected no flag of a rec"),
        (["--mode=report", "--workdir=a,b"], "--workdir: expected a trained run, received a."),
        (["--seed=1,2,1"], "--seed: expected a number, or different ones as 0,1,2, received"),
    ],
)
def test_wrong_use_is_one_sentence(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr


def test_the_weights_of_a_run_are_fine_tuned_unless_told_otherwise(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    cached = "data.map_crop: expected 0 where no features are cached"
    for weights, tuned in (
        ((f"--weights={tmp_path}",), True),
        ((f"--weights={tmp_path}", "--nofine_tune"), False),
        (("--weights=imagenet",), False),
        (("--weights=imagenet", "--fine_tune"), True),
    ):
        done = run("--recipe=stills", "--set=data.map_crop=5", *weights)
        assert (cached in done.stderr) == tuned


def test_a_directory_that_is_no_data_set(tmp_path):
    done = run(f"--data={tmp_path}", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().startswith("error: ") and "dataset.json" in done.stderr


FLAGS = [
    "--recipe=demo",
    "--epochs=1",
    "--batch_size=4",
    "--frames=6",
    "--height=24",
    "--width=24",
    "--set=backbone_options.width=12",
]


def test_the_whole_road_and_a_second_run(squares_data, tmp_path):
    workdir = tmp_path / "run"
    arguments = [*FLAGS, f"--data={squares_data}", f"--workdir={workdir}"]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr and "tensorflow" not in done.stderr.lower()
    for name in ("metrics.json", "report/index.html", "export/aacf/1"):
        assert str(workdir / Path(name)) in done.stdout
    assert "average pooling" in done.stdout and "AACF action" in done.stdout

    metrics = json.loads((workdir / "metrics.json").read_text())
    assert metrics["recipe"] == "demo" and metrics["head"] == "aacf"
    assert metrics["labels"] == ["down", "right"]
    entry = metrics["splits"]["test"]
    assert entry["clips"] == 8
    for score in ("action", "context", "combined"):
        assert set(entry[score]) >= {"top1", "top5", "mean_ap", "per_class_ap"}
        assert set(entry[score]["per_class_ap"]) == {"down", "right"}
    assert set(entry["localization"]) >= {
        "action_pointing",
        "action_mass",
        "action_auc",
        "action_time_share",
        "context_mass",
        "context_auc",
        "mask_area",
        "mask_threshold",
    }
    baseline = json.loads((workdir / "baselines/average/metrics.json").read_text())
    assert baseline["head"] == "average" and "action" not in baseline["splits"]["test"]

    rows = list(csv.DictReader((workdir / "predictions.csv").open()))
    assert len(rows) == 16
    assert list(rows[0])[:5] == ["split", "id", "labels", "predicted", "action_down"]
    for row in rows:
        total = sum(float(row[f"combined_{label}"]) for label in ("down", "right"))
        assert total == pytest.approx(1, abs=1e-5)
    assert list((workdir / "logs").rglob("events.out.tfevents.*"))

    again = run(*arguments, "--mode=train")
    assert again.returncode == 0 and again.stdout.count("finished already") == 2

    other = run(*arguments, "--mode=train", "--seed=5")
    assert other.returncode == 2
    assert "another recipe (seed 0, now 5)" in other.stderr

    refused = run(*arguments, "--noresume")
    assert refused.returncode == 2 and "--noresume" in refused.stderr


def test_a_data_set_without_test_splits(tiny_pairs, tmp_path):
    from aacf_tf import recipes
    from aacf_tf.evaluation.evaluate import evaluate
    from aacf_tf.runs.run import Run

    run_ = Run.open(recipes.load_recipe("demo"), tiny_pairs, tmp_path)
    with pytest.raises(UsageError, match=r"whose name begins with 'test'.*received train"):
        evaluate(run_, None, "aacf", tmp_path)


@pytest.fixture
def tiny_pairs(tmp_path) -> Path:
    clip = np.zeros((2, 8, 8, 3), np.uint8)
    pairs = [ClipPair("a", clip, clip, ("x",))]
    write_dataset(tmp_path / "data", {"train": pairs}, labels=["x"], num_shards=1)
    return tmp_path / "data"
