"""Entry points of the console scripts.

absl keys a command's flags by `argv[0]`, so a script that merely calls `main` would print no flags
in `--help`; running the module as `__main__` does.
"""

from __future__ import annotations

import runpy


def train() -> None:
    """`aacf-train`: the same as `python train_main.py`."""
    runpy.run_module("train_main", run_name="__main__", alter_sys=True)


def build() -> None:
    """`aacf-build`: the same as `python -m tfrecords.build`."""
    runpy.run_module("tfrecords.build", run_name="__main__", alter_sys=True)


def show() -> None:
    """`aacf-show`: the same as `python -m tfrecords.show`."""
    runpy.run_module("tfrecords.show", run_name="__main__", alter_sys=True)


def attend() -> None:
    """`aacf-attend`: the same as `python -m aacf_tf.attend`."""
    runpy.run_module("aacf_tf.attend", run_name="__main__", alter_sys=True)


def complete() -> None:
    """`aacf-complete`: the same as `python -m aacf_tf.completion`."""
    runpy.run_module("aacf_tf.completion", run_name="__main__", alter_sys=True)
