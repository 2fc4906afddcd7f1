"""Builds and trainings killed hard at random moments go on, and end where undisturbed ones end.

python -m pytest -m slow -s tests/test_kill.py      20 kills each (or AACF_KILLS), with counts
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Callable

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[1]
EPOCHS = 40
KILLS = int(os.environ.get("AACF_KILLS", "20"))
TRAIN = [
    str(PROJECT / "train_main.py"),
    "--recipe=demo",
    f"--epochs={EPOCHS}",
    "--batch_size=4",
    "--frames=6",
    "--height=24",
    "--width=24",
    "--precision=float32",
    "--set=backbone_options.width=12",
    "--set=stages.0.dropout=0.3",
    "--set=baseline=none",
]


def start(*command: str) -> subprocess.Popen:
    environment = {**os.environ, "TF_DETERMINISTIC_OPS": "1", "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*command: str) -> str:
    process = start(*command)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return output


def kill(command: list[str], state: Callable[[], object], pause: float) -> Counter[str]:
    """Kills a command again and again, each time a moment after what it has written changes."""
    moments, counts, begun = random.Random(0), Counter(), time.monotonic()
    while counts["kills"] < KILLS:
        before, process = state(), start(*command)
        while state() == before and process.poll() is None:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, pause))
        if process.poll() is None:
            process.kill()
        output = process.communicate()[0]
        assert "Traceback" not in output, output
        counts["kills" if process.returncode == -signal.SIGKILL else "ended before"] += 1
        counts["with a warning"] += "Warning: " in output
        print(f"{time.monotonic() - begun:.0f} s", dict(counts), flush=True)
        assert counts["ended before"] < KILLS, output
    return counts


@pytest.mark.slow
def test_training(squares_data, tmp_path):
    import tensorflow as tf

    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    data = [f"--data={squares_data}", "--mode=train"]
    finish(*TRAIN, *data, f"--workdir={undisturbed}")
    folder = killed / "checkpoints" / "main"

    def newest() -> set[str]:
        return {path.name for path in folder.glob("ckpt-*")}

    command = [*TRAIN, *data, f"--workdir={killed}"]
    counts = kill([*command, "--set=save_minutes=0.00001"], newest, pause=0.2)  # at every step
    counts["halves seen"] += len([*folder.glob("ckpt-*_temp")])
    finish(*command)
    print(f"\ntraining: {dict(counts)}")

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
    left = [path for path in killed.rglob("*") if path.name.endswith((".tmp", "_temp", ".lock"))]
    assert not left
    assert len([*folder.glob("ckpt-*.index")]) == 2  # `keep`


@pytest.mark.slow
def test_builds(tmp_path, write_video):
    table, random_frames = tmp_path / "clips.csv", np.random.default_rng(0)
    lines = ["video,label,start,end"]
    for n in range(4):
        frames = random_frames.integers(0, 255, (100, 120, 160, 3), dtype=np.uint8)
        write_video(tmp_path / f"{n}.mkv", frames, fps=20)
        lines += [f"{n}.mkv,{'ab'[n % 2]},{i / 20},{i / 20 + 0.5}" for i in range(0, 80, 2)]
    table.write_text("\n".join(lines) + "\n")
    command = ["-m", "tfrecords.build", "--source=csv", f"--input={table}", "--num_shards=40"]
    command += ["--conjugate=frozen_frame", "--workers=2"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(*command, f"--output={whole}")

    def written() -> set[str]:
        return {path.name for path in killed.rglob("*")}

    counts = kill([*command, f"--output={killed}"], written, pause=0.15)
    finish(*command, f"--output={killed}")
    print(f"\nbuilds: {dict(counts)}")

    def content(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    assert content(killed) == content(whole)
