"""Two workers on loopback train like one device; one that is killed loses nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[1]


def start(data: Path, workdir: Path, *flags: str, task: str | None = None) -> subprocess.Popen:
    command = [
        sys.executable,
        str(PROJECT / "train_main.py"),
        "--recipe=demo",
        "--mode=train",
        "--epochs=2",
        "--batch_size=4",  # four steps an epoch
        "--frames=6",
        "--height=24",
        "--width=24",
        "--precision=float32",
        "--set=backbone_options.width=12",
        "--set=baseline=none",
        "--set=stages.0.optimizer=sgd",
        "--set=stages.0.warmup=0",
        "--set=stages.0.pairs_first=0",
        "--learning_rate=0.05",
        "--set=synchronized_batch_norm=true",
        f"--data={data}",
        f"--workdir={workdir}",
        *flags,
    ]
    environment = {**os.environ, **({"TF_CONFIG": task} if task else {})}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def start_two(data: Path, workdir: Path, *flags: str) -> list[subprocess.Popen]:
    """TF_CONFIG alone says that there are several."""
    with socket.socket() as one, socket.socket() as two:
        for free in (one, two):
            free.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{free.getsockname()[1]}" for free in (one, two)]
    tasks = [
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        for index in range(2)
    ]
    return [start(data, workdir, *flags, task=json.dumps(task)) for task in tasks]


def finish(processes: list[subprocess.Popen]) -> list[str]:
    outputs = [process.communicate(timeout=900)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return outputs


def weights(workdir: Path) -> dict[str, np.ndarray]:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / "main"))
    names = [
        name for name in reader.get_variable_to_shape_map() if name.startswith(("backbone", "head"))
    ]
    return {name: reader.get_tensor(name) for name in names if "VARIABLE_VALUE" in name}


@pytest.mark.slow
def test_two_workers_and_one_killed_on_the_way(squares_data, tmp_path):
    finish([start(squares_data, tmp_path / "one", "--strategy=one_device")])
    finish(start_two(squares_data, tmp_path / "two"))
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert len(one) > 20 and one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=0, atol=1e-5, err_msg=name)
    histories = [
        json.loads((tmp_path / name / "logs/main/history.json").read_text())
        for name in ("one", "two")
    ]
    for ours, theirs in zip(*histories):
        assert ours.keys() == theirs.keys()
        assert theirs == pytest.approx(ours, abs=1e-4)

    killed = tmp_path / "killed"
    every_step = "--set=save_minutes=0.00001"
    processes = start_two(squares_data, killed, every_step)
    state = killed / "checkpoints" / "main" / "checkpoint"
    while not (state.is_file() and "ckpt-" in state.read_text()):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)
    processes[1].kill()
    for process in processes:  # the other one ends by itself
        process.communicate(timeout=300)
    assert processes[0].returncode != 0
    finish(start_two(squares_data, killed))
    for name, value in weights(killed).items():
        np.testing.assert_allclose(value, two[name], rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "received none"),
        ("{", "received '{'"),
        ('{"cluster": {"worker": ["a:1"]}}', "expected TF_CONFIG"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "a task of"),
        ('{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "a task of that"),
    ],
)
def test_a_wrong_tf_config_is_one_sentence(monkeypatch, text, message):
    from aacf_tf.runs.devices import make_strategy
    from tfrecords.utils.errors import UsageError

    if text is None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    else:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UsageError, match=message):
        make_strategy("multi_worker")
