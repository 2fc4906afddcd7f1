"""`commandline.run` under a limit on memory: a crash is one sentence, all else stays as it is."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys, time
from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError

def main(arguments):
    kind = arguments[0]
    if kind == "usage":
        raise UsageError("Expected a, received b.")
    if kind == "wait":
        print("ready", flush=True)
        time.sleep(60)
    if kind != "well":
        os.kill(os.getpid(), getattr(signal, kind))
    print("done")

commandline.run(main, "")
"""
LIMIT = 4 << 30


def _limit():
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))


@pytest.fixture
def start(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}

    def start(kind: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, str(script), kind],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=_limit,
            start_new_session=True,
        )

    return start


@pytest.mark.parametrize("kind", ["SIGSEGV", "SIGABRT"])
def test_a_crash_is_one_sentence(start, kind):
    command = start(kind)
    _, error = command.communicate()
    assert command.returncode == 1
    assert error.strip().count("\n") == 0, error
    assert f"error: TensorFlow crashed ({kind})" in error and "4.3 GB" in error


@pytest.mark.parametrize(
    ("kind", "code", "output", "error"),
    [
        ("well", 0, "done\n", ""),
        ("usage", 2, "", "error: Expected a, received b.\n"),
        ("SIGKILL", -signal.SIGKILL, "", ""),
    ],
)
def test_any_other_end_is_the_command_s_own(start, kind, code, output, error):
    command = start(kind)
    assert command.communicate() == (output, error)
    assert command.returncode == code


@pytest.mark.parametrize("whole_group", [False, True])
def test_ctrl_c_is_one_sentence(start, whole_group):
    command = start("wait")
    assert command.stdout.readline() == "ready\n"
    (os.killpg if whole_group else os.kill)(command.pid, signal.SIGINT)
    _, error = command.communicate()
    assert command.returncode == 130
    assert set(error.splitlines()) == {error.splitlines()[0]}  # by kill to a group perhaps twice
    assert error.startswith("error: Interrupted; ")


def test_a_command_that_is_terminated_leaves_no_child(start):
    command = start("wait")
    assert command.stdout.readline() == "ready\n"
    command.terminate()
    command.communicate()  # its output ends with the last process that holds it
    assert command.returncode == -signal.SIGTERM
