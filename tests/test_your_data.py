"""The guide to one's own data: its commands run as they are written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
GUIDE = (PROJECT / "docs" / "your_data.md").read_text(encoding="utf-8")
# Blocks of commands: the first draws the files, each of the others is a situation.
DRAW, *SITUATIONS = re.findall(r"^```\n(python .*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def run(block: str, folder: Path) -> list[str]:
    """Runs commands in a folder; returns what each printed."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    printed = []
    for line in block.splitlines():
        words = shlex.split(line)
        scripts = [str(PROJECT / word) if (PROJECT / word).is_file() else word for word in words]
        done = subprocess.run(
            [sys.executable, *scripts[1:]],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert not done.returncode, (line, done.stderr)
        printed.append(done.stdout)
    return printed


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the raw files."""
    folder = tmp_path_factory.mktemp("guide")
    run(DRAW, folder)
    return folder


def test_five_situations_of_four_commands():
    assert [len(block.splitlines()) for block in SITUATIONS] == [4] * 5


@pytest.mark.slow
@pytest.mark.parametrize("block", SITUATIONS, ids=lambda block: block.split("data/")[1].split()[0])
def test_the_commands_run(folder, block):
    doctor, build, _, train = run(block, folder)
    # The command that the doctor advises is that of the guide, but for what it adds.
    advised = next(line for line in doctor.splitlines() if line.startswith("python "))
    assert set(build_flags(block)) <= set(advised.split())
    assert " 0 rows skipped" in build
    workdir = folder / re.search(r"--workdir=(\S+)", block)[1]
    assert (workdir / "report" / "index.html").is_file()
    assert "top-1 / mean AP" in train


def build_flags(block: str) -> list[str]:
    """The flags of the build in a block but its output."""
    return [word for word in block.splitlines()[1].split()[3:] if not word.startswith("--output")]
