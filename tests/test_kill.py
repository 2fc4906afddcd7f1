"""Training killed hard at several moments goes on, and ends where an undisturbed run ends."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[1]
EPOCHS = 12


def start(data: Path, workdir: Path) -> subprocess.Popen:
    command = [
        sys.executable,
        str(PROJECT / "train_main.py"),
        "--recipe=demo",
        "--mode=train",
        f"--epochs={EPOCHS}",
        "--batch_size=4",
        "--frames=6",
        "--height=24",
        "--width=24",
        "--set=backbone_options.width=12",
        "--set=baseline=none",
        f"--data={data}",
        f"--workdir={workdir}",
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def checkpoints(workdir: Path) -> set[str]:
    return {path.name for path in (workdir / "checkpoints" / "main").glob("ckpt-*.index")}


@pytest.mark.slow
def test_kill_9_and_start_again(squares_data, tmp_path):
    import tensorflow as tf

    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    whole = start(squares_data, undisturbed)
    assert whole.wait() == 0, whole.stdout.read()

    kills = 0
    for delay in (0.0, 0.05, 0.2):
        before = checkpoints(killed)
        process = start(squares_data, killed)
        while checkpoints(killed) <= before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(delay)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
    assert kills >= 2, "the runs ended before they could be killed"
    last = start(squares_data, killed)
    assert last.wait() == 0, last.stdout.read()

    readers = [
        tf.train.load_checkpoint(str(folder / "checkpoints" / "main"))
        for folder in (undisturbed, killed)
    ]
    names = [name for name in readers[0].get_variable_to_shape_map() if "trackers" not in name]
    assert any("kernel" in name for name in names)
    for name in names:
        values = [reader.get_tensor(name) for reader in readers]
        if isinstance(values[0], np.ndarray) and values[0].dtype.kind == "f":
            np.testing.assert_allclose(*values, rtol=1e-3, atol=1e-4, err_msg=name)
