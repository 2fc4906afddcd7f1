"""One process at a time; a killed one leaves nothing that blocks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfrecords.utils import lock
from tfrecords.utils.errors import UsageError, UserError

HOLD = """
import sys, time
from pathlib import Path
from tfrecords.utils import lock
with lock.alone(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(60)
"""


def enter(path: Path, message: str, kind: type[UserError] = UserError) -> None:
    with lock.alone(path, message, kind):
        pytest.fail("both are in")


def test_the_second_is_told_who_is_there(tmp_path):
    path, holder = tmp_path / "run" / ".lock", rf"process {os.getpid()} on .*"
    told = pytest.raises(UsageError, match=rf"^Another run is working in x \({holder}\)\.$")
    with lock.alone(path, "Another run is working in x"), told:
        enter(path, "Another run is working in x", UsageError)
    assert not path.exists()
    with pytest.raises(ZeroDivisionError), lock.alone(path, ""):
        raise ZeroDivisionError
    assert not path.exists()


def test_a_kill_frees_it(tmp_path):
    path, project = tmp_path / ".lock", Path(__file__).parents[3]
    command = [sys.executable, "-c", HOLD, str(path)]
    holder = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"busy \(process {holder.pid} on "):
            enter(path, "busy")
        holder.kill()
    assert path.exists()
    with lock.alone(path, "busy"):
        assert path.read_text().startswith(f"process {os.getpid()} on")


def test_a_folder_without_locks_is_told_of(tmp_path, monkeypatch, caplog):
    import fcntl

    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock.alone(tmp_path / ".lock", ""):
        assert f"Warning: {tmp_path} cannot be locked: Function not implemented." in caplog.text
