"""The package as `pip install` lays it down, away from the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("aacf_tf", "keras_layers", "tfrecords")


def files_of(package: Path) -> set[str]:
    paths = (path for path in package.rglob("*") if path.is_file())
    return {str(p.relative_to(package)) for p in paths if p.parent.name != "__pycache__"}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy to install, so that the clone stays clean."""
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, source / package)
    for name in ("setup.py", "pyproject.toml", "README.md", "train_main.py"):
        shutil.copy(PROJECT / name, source)
    return source


@pytest.fixture(scope="module")
def installed(source, tmp_path_factory) -> Path:
    """Folder with the installed package."""
    target = tmp_path_factory.mktemp("site")
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
    assert {"aacf-train", "aacf-doctor", "aacf-attend"} <= {
        path.name for path in (installed / "bin").iterdir()
    }


@pytest.fixture(scope="module")
def linked(source, tmp_path_factory) -> Path:
    """Folder with what `pip install -e` lays down for the same copy."""
    target = tmp_path_factory.mktemp("linked")
    code = "import sys, setuptools.build_meta as b; print(b.build_editable(sys.argv[1]))"
    run = {"cwd": source, "capture_output": True, "text": True, "check": True}
    built = subprocess.run([sys.executable, "-c", code, str(target)], **run)
    with zipfile.ZipFile(target / built.stdout.split()[-1]) as wheel:
        wheel.extractall(target)
    return target


@pytest.mark.parametrize("kind", ["installed", "linked"])
def test_folders_of_data_called_like_the_packages_do_not_hide_them(kind, request, tmp_path):
    for package in PACKAGES:
        (tmp_path / package / "videos").mkdir(parents=True)
    code = (
        "import site, sys; site.addsitedir(sys.argv[1]);"
        "import aacf_tf, keras_layers, tfrecords, tfrecords.utils.errors;"
        "print(aacf_tf.__file__, keras_layers.__file__, tfrecords.__file__)"
    )
    command = [sys.executable, "-c", code, str(request.getfixturevalue(kind))]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    run = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    found = subprocess.run(command, **run, check=True).stdout.split()
    assert [Path(file).parent.name for file in found] == list(PACKAGES)
