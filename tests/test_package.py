"""The package as `pip install` lays it down, away from the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("aacf_tf", "keras_layers", "tfrecords")


def files_of(package: Path) -> set[str]:
    paths = (path for path in package.rglob("*") if path.is_file())
    return {str(p.relative_to(package)) for p in paths if p.parent.name != "__pycache__"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Folder with the installed package, built from a copy so that the clone stays clean."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, source / package)
    for name in ("setup.py", "pyproject.toml", "README.md", "train_main.py"):
        shutil.copy(PROJECT / name, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, f"--target={target}", str(source)], check=True, cwd=source)
    return target


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_is_installed(installed, package):
    """Modules, and what else they need: stubs, the marker of types, the page of the report."""
    files = files_of(PROJECT / package)
    assert {"py.typed", "__init__.pyi"} <= files
    assert files_of(installed / package) == files


def test_lazy_names_and_commands_are_found_outside_the_clone(installed):
    code = (
        "import aacf_tf, keras_layers, tfrecords; from tfrecords import ClipPair;"
        "print(aacf_tf.__file__, aacf_tf.load_recipe.__name__, *dir(keras_layers))"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    run = {"cwd": installed, "env": environment, "capture_output": True, "text": True}
    shown = subprocess.run([sys.executable, "-c", code], **run, check=True).stdout.split()
    assert shown[0] == str(installed / "aacf_tf" / "__init__.py")
    assert "load_recipe" in shown and "ActionContextFactorization" in shown
    assert {"aacf-train", "aacf-attend"} <= {path.name for path in (installed / "bin").iterdir()}
