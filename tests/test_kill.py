"""Training killed hard at ten random moments goes on, and ends where an undisturbed run ends."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[1]
EPOCHS = 40
KILLS = 10


def start(data: Path, workdir: Path, *flags: str) -> subprocess.Popen:
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
        "--precision=float32",
        "--set=backbone_options.width=12",
        "--set=stages.0.dropout=0.3",
        "--set=baseline=none",
        f"--data={data}",
        f"--workdir={workdir}",
        *flags,
    ]
    environment = {**os.environ, "TF_DETERMINISTIC_OPS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def checkpoints(workdir: Path) -> set[str]:
    return {path.name for path in (workdir / "checkpoints" / "main").glob("ckpt-*.index")}


@pytest.mark.slow
def test_kill_9_and_start_again(squares_data, tmp_path):
    import tensorflow as tf

    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    whole = start(squares_data, undisturbed)
    assert whole.wait() == 0, whole.stdout.read()

    moments, kills = random.Random(0), 0
    while kills < KILLS:
        before = checkpoints(killed)
        process = start(squares_data, killed, "--set=save_minutes=0.00001")  # at every step
        while checkpoints(killed) <= before and process.poll() is None:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.2))
        assert process.poll() is None, f"it ended after {kills} kills: {process.stdout.read()}"
        process.kill()
        process.wait()
        kills += 1
    last = start(squares_data, killed)
    assert last.wait() == 0, last.stdout.read()

    readers = [
        tf.train.load_checkpoint(str(folder / "checkpoints" / "main"))
        for folder in (undisturbed, killed)
    ]
    names = [
        name
        for name in readers[0].get_variable_to_shape_map()
        if name.startswith(("backbone", "head", "optimizer")) and "VARIABLE_VALUE" in name
    ]
    assert any("kernel" in name for name in names)
    for name in names:
        np.testing.assert_array_equal(*(r.get_tensor(name) for r in readers), err_msg=name)
    first, second = (
        (folder / "logs" / "main" / "history.json").read_text() for folder in (undisturbed, killed)
    )
    assert first == second
