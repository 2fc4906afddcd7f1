"""Entry points of the console scripts.

absl keys a command's flags by `argv[0]`, so a script that merely calls `main` would print no flags
in `--help`; running the module as `__main__` prints them.
"""

from __future__ import annotations

import runpy


def train() -> None:
    """Runs `python train_main.py` as `aacf-train`."""
    runpy.run_module("train_main", run_name="__main__", alter_sys=True)


def build() -> None:
    """Runs `python -m tfrecords.build` as `aacf-build`."""
    runpy.run_module("tfrecords.build", run_name="__main__", alter_sys=True)


def show() -> None:
    """Runs `python -m tfrecords.show` as `aacf-show`."""
    runpy.run_module("tfrecords.show", run_name="__main__", alter_sys=True)


def doctor() -> None:
    """Runs `python -m tfrecords.doctor` as `aacf-doctor`."""
    runpy.run_module("tfrecords.doctor", run_name="__main__", alter_sys=True)


def attend() -> None:
    """Runs `python -m aacf_tf.attend` as `aacf-attend`."""
    runpy.run_module("aacf_tf.attend", run_name="__main__", alter_sys=True)


def complete() -> None:
    """Runs `python -m aacf_tf.completion` as `aacf-complete`."""
    runpy.run_module("aacf_tf.completion", run_name="__main__", alter_sys=True)


def bias() -> None:
    """Runs `python -m aacf_tf.bias` as `aacf-bias`."""
    runpy.run_module("aacf_tf.bias", run_name="__main__", alter_sys=True)
