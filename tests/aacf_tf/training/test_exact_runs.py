"""A run that was stopped is the undisturbed one; two devices train like one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow  # in processes of their own; continuous integration runs them


def run(name: str, data: Path, output: Path) -> Path:
    """Runs `helpers/exact_runs.py` and returns its output."""
    command = [sys.executable, str(PROJECT / "tests" / "helpers" / "exact_runs.py"), name]
    done = subprocess.run(
        [*command, str(data), str(output)],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return output


def test_stopped_and_continued_is_undisturbed_bit_for_bit(squares_data, tmp_path):
    """Dropout is on; SIGTERM comes within an epoch, a kill at the end of that epoch."""
    runs = run("stopped", squares_data, tmp_path)
    assert "after 1 epochs and 2 steps" in (runs / "stopped.txt").read_text()
    assert (runs / "killed.txt").read_text() == "2"
    whole, disturbed = (np.load(runs / f"{name}.npz") for name in ("whole", "disturbed"))
    assert len(whole.files) > 30
    for name in whole.files:
        np.testing.assert_array_equal(disturbed[name], whole[name], err_msg=name)
    # The metrics of the epoch that was cut are those of all its steps.
    histories = [json.loads((runs / f"{n}.json").read_text()) for n in ("whole", "disturbed")]
    assert histories[0] == histories[1] and len(histories[0]) == 4


@pytest.mark.parametrize("norm", ["frozen", "synchronized"])
def test_two_mirrored_devices_train_like_one(squares_data, tmp_path, norm):
    runs = run(norm, squares_data, tmp_path)
    one, two = (np.load(runs / f"{norm}_{name}.npz") for name in ("one_device", "mirrored"))
    biases = [name for name in one.files if "bias" in name]
    assert biases and all(np.abs(one[name]).max() > 1e-3 for name in biases)  # they began at 0
    for name in one.files:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-5, err_msg=name)
    ours, theirs = (
        json.loads((runs / f"{norm}_{name}.json").read_text())[0]
        for name in ("mirrored", "one_device")
    )
    assert ours.keys() == theirs.keys() >= {"loss", "accuracy", "val_loss", "val_mean_ap"}
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-4), name
