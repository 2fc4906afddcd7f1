"""Measures what TensorFlow's oneDNN kernels are worth here, and that they are on as it comes.

    python benchmarks/switch.py

Training steps of the demo's and of J-HMDB's network and inference of I3D, float32: as the project
starts by itself, with TF_ENABLE_ONEDNN_OPTS=1 set by hand, with 0, and as TensorFlow would choose.
Every time is the median of a few calls in a process of its own, since TensorFlow reads the switch
once; the processes take turns.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Sequence

from absl import flags

from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.progress import progress

PROJECT = Path(__file__).resolve().parents[1]
SWITCH = "TF_ENABLE_ONEDNN_OPTS"
COMES, BY_HAND, OFF, CHOICE = "as it comes", "set by hand", "set to 0", "TensorFlow's choice"
WORKS = ("demo", "jhmdb", "i3d 32x224x224")
CALLS = 5
WANTED = 0.95  # of the speed with the switch set by hand


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    from benchmarks import sheet

    flags.DEFINE_list("works", [*WORKS], f"Of {', '.join(WORKS)}.")
    sheet.define_flags(rounds=3)


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    from benchmarks import sheet

    options = flags.FLAGS
    if unknown := {*options.works} - {*WORKS}:
        raise UsageError(f"--works: expected some of {', '.join(WORKS)}, received {unknown}.")
    print(sheet.machine_line(), flush=True)
    sheets = []
    for work in options.works:
        sheets.append(measure(work, options.rounds, options.threads))
        print(f"\n{sheet.markdown(sheets[-1])}", flush=True)
    if options.output:
        sheet.write(options.output, sheets)


def measure(work: str, rounds: int, threads: int) -> Any:
    """Returns the sheet of one of `WORKS`."""
    from benchmarks import sheet

    results: dict[str, list[dict[str, float]]] = {}
    for _ in progress(range(rounds), desc=work, unit="round", leave=False):
        for name in (COMES, BY_HAND, OFF, CHOICE):
            results.setdefault(name, []).append(run(work, name, threads))
    rows = {
        name: sheet.Row(
            [round(1000 * r["wall"], 3) for r in found],
            round(statistics.median(r["processor"] / r["wall"] for r in found), 2),
        )
        for name, found in results.items()
    }
    pairs = zip(results[BY_HAND], results[COMES])
    ratio = statistics.median(hand["wall"] / comes["wall"] for hand, comes in pairs)
    settings = {"precision": "float32", "threads": threads, "rounds": rounds, "warm-up": "1 call"}
    return sheet.Sheet(
        f"The switch, {work}", settings, rows, [sheet.Ratio(COMES, BY_HAND, ratio, WANTED)]
    )


def run(work: str, setting: str, threads: int) -> dict[str, float]:
    """Returns seconds a call, `wall` and `processor`, of a process with that setting."""
    environment = {name: value for name, value in os.environ.items() if name != SWITCH}
    if setting in (BY_HAND, OFF):
        environment[SWITCH] = "1" if setting == BY_HAND else "0"
    # A TensorFlow that is imported before the project goes by its own choice.
    first = "import tensorflow; " if setting == CHOICE else ""
    code = f"{first}from benchmarks import switch; switch.report({work!r}, {threads})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"{work}, {setting}: the process failed: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def report(work: str, threads: int) -> None:
    """Prints the seconds that a call of one of `WORKS` takes in this process, as JSON."""
    import aacf_tf  # noqa: F401  (a road in: it sets the switch)
    from benchmarks import machine, timing

    machine.hold(threads)
    times = timing.measure({work: make(work)}, CALLS)[work]
    print(json.dumps({name: statistics.median(values) for name, values in times._asdict().items()}))


def make(work: str) -> Callable[[], Any]:
    """Returns what is timed."""
    from benchmarks import training_step

    if work in training_step.NETWORKS:
        return training_step.tensorflow_step(work, "float32")
    import numpy as np
    import tensorflow as tf

    from aacf_tf.backbones import build_backbone
    from aacf_tf.backbones.batch_norm import fold_batch_norm

    backbone, size = work.split()
    folded = fold_batch_norm(build_backbone(backbone))
    draw = np.random.default_rng(0)
    clip = tf.constant(draw.integers(0, 256, [1, *map(int, size.split("x")), 3], np.uint8))
    forward = tf.function(lambda pixels: folded(pixels, training=False))
    return lambda: forward(clip)


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
