"""A run that was stopped is the undisturbed one; what cannot be done is said in a sentence."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from aacf_tf.completion import __main__ as command
from aacf_tf.completion import training
from aacf_tf.completion.objectives import LOSSES
from aacf_tf.completion.options import Settings
from aacf_tf.completion.pictures import open_images
from aacf_tf.runs.termination import Stopped, Termination
from tfrecords.utils.errors import UsageError, UserError

PROJECT = Path(__file__).resolve().parents[3]
SETTINGS = Settings(
    size=16,
    width=2,
    fill="diffused",
    steps=(5, 0, 5),
    batch_size=2,
    optimizer="adam",
    learning_rate=1e-2,
    schedule="cosine",
    held_out=3,
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Twelve pictures of a bright square on a ramp, one file that is none."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for n in range(12):
        pixels = np.linspace(20, 120, 40)[:, None, None] + random.uniform(0, 60, (1, 30, 3))
        top, left = random.integers(0, 20, 2)
        pixels[top : top + 10, left : left + 10] = 230
        cv2.imwrite(str(folder / f"{n:02}.png"), pixels.astype(np.uint8))
    (folder / "05.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_rows():
    """Rows of 3 steps, so that sums of a row that is cut must go on; a comparison after 5."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "ROWS", 3)
        patch.setattr(training, "COMPARISONS", 2)
        yield


def open_run(photos, workdir, settings=SETTINGS):
    return training.Trainer(settings, open_images(str(photos)), workdir)


class After(Termination):
    """SIGTERM comes while a step is done."""

    def __init__(self, run, step):
        self._run, self._at = run, step

    @property
    def received(self):
        return self._run.step >= self._at


def weights_of(workdir, step):
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / f"ckpt-{step}"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory) -> Path:
    """The undisturbed run."""
    workdir = tmp_path_factory.mktemp("whole")
    run = open_run(photos, workdir)
    run.train(Termination())
    assert run.finish() == workdir / "export" / "completion" / "1"
    return workdir


@pytest.mark.slow
def test_stopped_and_continued_is_undisturbed_bit_for_bit(photos, finished, tmp_path):
    run = open_run(photos, tmp_path)
    with pytest.raises(Stopped, match="saved after 7 of 10 steps"):
        run.train(After(run, 7))
    open_run(photos, tmp_path).train(Termination())
    one, two = (weights_of(folder, 10) for folder in (finished, tmp_path))
    assert sum("discriminators" in name for name in one) > 20 and one.keys() == two.keys()
    for name, values in one.items():
        if not name.startswith(("save_counter", "_CHECKPOINTABLE")):
            np.testing.assert_array_equal(two[name], values, err_msg=name)
    first, second = ((folder / "history.csv").read_text() for folder in (finished, tmp_path))
    assert first == second


def test_what_a_finished_run_leaves(photos, finished):
    rows = list(csv.DictReader((finished / "history.csv").read_text().splitlines()))
    steps = [(row["step"], row["phase"]) for row in rows]
    both = [(step, "both") for step in ("6", "9", "10")]
    assert steps == [("3", "completion"), ("5", "completion"), *both]
    assert all(float(row["squared_error"]) > 0 for row in rows)
    assert [row["step"] for row in rows if row["psnr"]] == ["5", "10"]
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["step"] == 10 and metrics["pictures"] == 1
    assert metrics["network"]["psnr"] == float(rows[-1]["psnr"])
    assert metrics["telea"]["psnr"] != metrics["diffusion"]["psnr"] > 5
    skipped = list(csv.reader((finished / "skipped.csv").read_text().splitlines()))
    assert skipped == [["file", "reason"], ["05.png", "not an image"]]
    assert cv2.imread(str(finished / "samples.png")).shape == (22 + 128, 4 * 128, 3)
    assert cv2.imread(str(finished / "curves.png")) is not None
    assert list((finished / "logs").glob("events*"))
    # The same command again: nothing is left to do.
    (finished / "metrics.json").unlink()  # what it says stands in the history, too
    run = open_run(photos, finished)
    before = (finished / "history.csv").read_text()
    run.train(Termination())
    assert run.finish() == finished / "export" / "completion" / "1"
    assert (finished / "history.csv").read_text() == before
    assert run.results.describe().splitlines()[-1].split()[0] == "network"


def test_other_settings_or_pictures_are_refused(photos, finished, tmp_path):
    with pytest.raises(UsageError, match=r"settings \(seed 0, now 1\); give another --workdir"):
        open_run(photos, finished, dataclasses.replace(SETTINGS, seed=1))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    parts = open_images(str(photos), str(tmp_path))
    with pytest.raises(UsageError, match=r"a run with pictures of other names or sizes \("):
        training.Trainer(SETTINGS, parts, finished)
    parts = open_images(str(photos))
    parts.train.sizes[0] += 1  # the same name, another picture
    with pytest.raises(UsageError, match=r"a run with pictures of other names or sizes \("):
        training.Trainer(SETTINGS, parts, finished)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: expected JSON, .*; copy the file"):
        open_run(photos, tmp_path)


def test_a_run_begins_with_pictures_that_can_be_read(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(UserError, match="Not one of 1 pictures can be read"):
        open_run(tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()  # so that the same command may be given with others


def test_a_loss_that_is_not_finite_ends_the_run(photos, tmp_path):
    run = open_run(photos, tmp_path)
    fine = dict.fromkeys(LOSSES, tf.constant(1.0))
    run.trainee.steps["completion"] = lambda *batch: fine
    run.trainee.steps["both"] = lambda *batch: {**fine, "adversarial": np.float32("nan")}
    message = r"received adversarial nan in step 6 \(both\); the last checkpoint .* 0"
    with pytest.raises(UserError, match=message):
        run.train(Termination())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--workdir=x"], "--images: expected a folder of pictures, received none"),
        (["--images=x"], "--workdir: expected a directory for the run, received none"),
        (["--images=x", "--workdir=y", "--steps=1,a,2"], "--steps: expected numbers.*1,a,2"),
        (["--images=x", "--workdir=y", "--size=12"], "--size: expected at least 16, received 12"),
        (["--images=x", "--workdir=y", "z"], "Expected flags only"),
        (["--images=x", "--workdir=s3://a/b"], "--workdir: expected a local dir.* s3://a/b"),
        (["--images=x", "--workdir=x/y"], "--workdir: expected a directory outside --images"),
        (["--images=x", "--workdir=y", "--seed=9999999999"], "--seed: expected 0 to 2"),
        (
            ["--images=x", "--workdir=y", "--adversarial_weight=nan"],
            "--adversarial_weight: expected at least 0, received nan",
        ),
    ],
)
def test_wrong_use(given, message):
    values = command.define_flags(flags.FlagValues())
    with pytest.raises(UsageError, match=message):
        command.main(values(["completion", *given])[1:], values)


def test_flags_override_the_preset():
    values = command.define_flags(flags.FlagValues())
    given = ["--preset=small", "--steps=1,2,3", "--hole_sides=0.2,0.3", "--spectral_norm"]
    values(["completion", "--images=x", "--workdir=y", *given])
    settings = command._check([], values)
    assert settings.steps == (1, 2, 3) and settings.hole_sides == (0.2, 0.3)
    assert settings.spectral_norm and settings.size == 64 and settings.optimizer == "adam"


@pytest.mark.slow
def test_kill_9_and_sigterm(photos, finished, tmp_path):
    """The command itself, killed as soon as there is a checkpoint, then stopped, then let run."""
    flagged = [
        f"--{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in {**SETTINGS.to_dict(), "steps": [40, 20, 40]}.items()
    ]
    code = (
        "import aacf_tf.completion.training as t, runpy; t.SAVE_MINUTES = 0\n"
        "runpy.run_module('aacf_tf.completion', run_name='__main__', alter_sys=True)"
    )

    def start(workdir):
        arguments = [f"--images={photos}", f"--workdir={workdir}", *flagged]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "TF_DETERMINISTIC_OPS": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    whole = start(tmp_path / "whole")
    assert whole.wait() == 0, whole.stdout.read()
    for sent in (signal.SIGKILL, signal.SIGTERM):
        stopped = start(tmp_path / "stopped")
        folder = tmp_path / "stopped" / "checkpoints"
        before = set(folder.glob("*.index"))
        while set(folder.glob("*.index")) <= before and stopped.poll() is None:
            pass
        stopped.send_signal(sent)
        code_of = stopped.wait()
        assert code_of == (143 if sent == signal.SIGTERM else -9), stopped.stdout.read()
    last = start(tmp_path / "stopped")
    assert last.wait() == 0, last.stdout.read()
    one, two = (weights_of(tmp_path / name, 100) for name in ("whole", "stopped"))
    for name, values in one.items():
        if name.startswith(("completion/", "discriminators/", "optimizers/")):
            np.testing.assert_array_equal(two[name], values, err_msg=name)
    first, second = ((tmp_path / n / "history.csv").read_text() for n in ("whole", "stopped"))
    assert first == second
