"""The environment of MediaPipe: where it is, and how it is made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, Optional

from tfrecords.utils.errors import UsageError, UserError

PYTHON = "AACF_PEOPLE_PYTHON"  # names an interpreter that has MediaPipe
VERSION = "0.10.21"
OPENCV, HEADLESS = "opencv-contrib-python", "opencv-contrib-python-headless==4.11.0.86"
OLDEST, NEWEST = (3, 9), (3, 12)  # Python versions that MediaPipe has packages for
INSTALL = "python -m tfrecords.people --install"


def folder() -> Path:
    """Returns the folder of the environment that `install` makes."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(base, "aacf_tf", "people")


def interpreter() -> str:
    """Returns the interpreter that has MediaPipe: the one that is named, else the installed one.

    Raises:
        UsageError: There is none; says how to have one.
    """
    named = os.environ.get(PYTHON)
    if named:
        found = shutil.which(os.path.expanduser(named))
        if not found:
            raise UsageError(f"Expected {PYTHON} to name a Python interpreter, received {named}.")
        return found
    installed = _python_of(folder())
    if not installed.exists():
        raise UsageError(
            f"Expected an environment of MediaPipe in {folder()} ({INSTALL} makes it, {PYTHON} "
            "names an interpreter that has it), received none."
        )
    return str(installed)


def install(python: Optional[str] = None) -> None:
    """Makes the environment; one that is there is completed.

    Args:
        python: Interpreter to make it with; None: this one if its version serves, else one of the
            PATH.

    Raises:
        UsageError: No interpreter of a version that serves is there.
        UserError: The environment cannot be made.
    """
    place = folder()
    maker = _maker(python)
    if not _python_of(place).exists():
        _call([maker, "-m", "venv", str(place)])
    pip = [str(_python_of(place)), "-m", "pip", "--disable-pip-version-check"]
    _call([*pip, "install", "--quiet", f"mediapipe=={VERSION}"])
    # Its OpenCV wants libGL, which servers lack; both write the same files, so one has to go first.
    _call([*pip, "uninstall", "--quiet", "--yes", OPENCV])
    _call([*pip, "install", "--quiet", "--force-reinstall", "--no-deps", HEADLESS])


def _maker(python: Optional[str]) -> str:
    versions = f"Python {'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}"
    for name in [python] if python else _candidates():
        path = shutil.which(os.path.expanduser(name))
        version = _version_of(path) if path else None
        if path and version and OLDEST <= version <= NEWEST:
            return path
        if python:
            received = f"{python}, " + (
                f"Python {version[0]}.{version[1]}" if version else "which is no interpreter"
            )
            raise UsageError(f"Expected --python to name {versions}, received {received}.")
    raise UsageError(
        f"MediaPipe {VERSION} needs {versions}: expected one on the PATH, or --python=FILE, "
        "received none."
    )


def _candidates() -> Iterator[str]:
    yield sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        yield f"python3.{minor}"


def _version_of(path: str) -> Optional[tuple[int, int]]:
    """Returns (major, minor) of an interpreter; None: it is none that runs."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=60)
        major, minor = map(int, done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return major, minor


def _python_of(place: Path) -> Path:
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _call(command: list[str]) -> None:
    """Runs a command; its last line on standard error is the reason of a UserError."""
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        failed, said = done.returncode, done.stderr
    except OSError as error:
        failed, said = 1, str(error)
    if failed:
        raise UserError(
            f"The environment of MediaPipe cannot be made: {' '.join(command)}: {last_line(said)}."
        )


def last_line(text: str) -> str:
    """Returns the last line that says something, without its full stop."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    return errors[-1].rstrip(".") if errors else "it says nothing"
