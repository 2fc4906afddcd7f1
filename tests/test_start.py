"""The packages turn on TensorFlow's kernels when imported, and silence its messages.

Each case is a process of its own, since TensorFlow reads its environment once.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_layers.convolution import processor

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("aacf_tf", "keras_layers", "tfrecords")
SET = (
    *("TF_ENABLE_ONEDNN_OPTS", "TF_CPP_MIN_LOG_LEVEL", "TF_USE_LEGACY_KERAS"),
    "PYTHONWARNINGS",
)
NEW = sys.version_info >= (3, 12)  # whose TensorFlow brings Keras 3


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if name not in SET}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_three_packages_hold_the_same_switch():
    """Neither ground floor may import the other, so the rule stands three times."""

    def switch(package: str) -> str:
        tree = ast.parse((PROJECT / package / "__init__.py").read_text(encoding="utf-8"))
        (found,) = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "ONEDNN" in ast.dump(n)]
        return ast.unparse([found.test, *found.body])

    assert switch("aacf_tf") == switch("keras_layers") == switch("tfrecords")
    assert "os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')" in switch("tfrecords")


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_turns_onednn_on_and_starts_nothing(package):
    code = (
        f"import {package}, os, sys; "
        "print(os.environ['TF_ENABLE_ONEDNN_OPTS'], 'tensorflow' in sys.modules)"
    )
    assert python(code).stdout == "1 False\n"
    assert python(code, TF_ENABLE_ONEDNN_OPTS="0").stdout == "0 False\n"


# A TensorFlow that was there first, and a processor with and without what turns oneDNN on.
LATE = """
import os, pathlib, sys, types
sys.modules["tensorflow"] = types.ModuleType("tensorflow")
pathlib.Path.read_text = lambda *_, **__: "processor : 0\\nflags : fpu avx2 {flag}\\n"
import {package}
print(os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
"""


@pytest.mark.parametrize(
    ("package", "chosen"), [("aacf_tf", NEW), ("tfrecords", NEW), ("keras_layers", False)]
)
def test_the_application_chooses_keras_2_and_the_layers_choose_nothing(package, chosen):
    done = python(f"import os, {package}; print(os.environ.get('TF_USE_LEGACY_KERAS'))")
    assert done.stdout == f"{'1' if chosen else None}\n", done.stderr


@pytest.mark.skipif(not NEW, reason="below Python 3.12 TensorFlow keeps to the level of logging")
@pytest.mark.parametrize("level", [{}, {"TF_CPP_MIN_LOG_LEVEL": "0"}])
def test_what_tensorflow_writes_while_it_is_loaded_is_not_shown(level, tmp_path):
    """TensorFlow is replaced by a module that writes to the descriptor."""
    (tmp_path / "tensorflow.py").write_text("import os; os.write(2, b'noise ')")
    code = (
        f"import os, sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from tfrecords.utils import commandline as c; c.quiet_tensorflow(); c.quiet_tensorflow()\n"
        "import tensorflow; os.write(2, b'after')"
    )
    done = python(code, **level)
    assert done.stderr == ("noise after" if level else "after")


@pytest.mark.skipif(not NEW, reason="below Python 3.12 TensorFlow brings Keras 2")
@pytest.mark.parametrize("chosen", [{}, {"TF_USE_LEGACY_KERAS": "0"}])
def test_keras_3_is_refused_in_one_sentence(chosen):
    """TensorFlow is replaced by a module that holds a Keras."""
    loaded = "import sys, types; tf = sys.modules['tensorflow'] = types.ModuleType('tensorflow')\n"
    keras = "tf.keras = types.SimpleNamespace(__version__='3.15.0')\n"
    code = (loaded + keras if not chosen else "") + "import aacf_tf"
    last = python(code, **chosen).stderr.splitlines()[-1]
    assert last.startswith("ImportError: aacf_tf and tfrecords work with Keras 2 (tf-keras), but")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells what its processor has")
@pytest.mark.parametrize("package", ["aacf_tf", "keras_layers", "tfrecords, keras_layers"])
def test_a_tensorflow_that_was_imported_first_is_reported_in_one_line(package):
    done = python(LATE.format(package=package, flag="avx512f"))
    assert done.stdout == "None\n"  # it would promise what is not so
    assert done.stderr.count("\n") == 1 and "Import keras_layers, aacf_tf or tf" in done.stderr
    assert python(LATE.format(package=package, flag="avx512_vnni")).stderr == ""
    chosen = python(LATE.format(package=package, flag="avx512f"), TF_ENABLE_ONEDNN_OPTS="0")
    assert (chosen.stdout, chosen.stderr) == ("0\n", "")


def test_the_processor_is_read_once(monkeypatch):
    processor.instruction_sets.cache_clear()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "x: y\nflags\t\t: fpu sse2\n")
    assert processor.instruction_sets() == {"fpu", "sse2"}
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "another")
    assert processor.instruction_sets() == {"fpu", "sse2"}
    processor.instruction_sets.cache_clear()


def test_a_script_shows_its_own_output_and_warnings_alone():
    """TensorFlow's factories, the farewell of one package and the greeting of another are not."""
    code = (
        "import aacf_tf, logging, warnings\n"
        "import numpy, tensorflow\n"
        "from aacf_tf.visualization.overlays import find_boxes\n"
        "from tfrecords.reading.photometric import make_jitter\n"
        "find_boxes(numpy.ones([8, 8])), make_jitter(0.5)\n"
        "logging.getLogger('aacf_tf').warning('ours')\n"
        "warnings.warn('the script')\n"
        "print('done')"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    ours, warning, *source = done.stderr.splitlines()
    assert ours == "ours" and "UserWarning: the script" in warning
    assert "".join(source).strip() in ("", "warnings.warn('the script')")  # from Python 3.13 on
