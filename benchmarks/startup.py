"""Measures how long a command takes until it answers: help, wrong flags, the first training step.

    python benchmarks/startup.py                        builds the demo's data first (25 s)
    python benchmarks/startup.py --data=data/demo --output=startup

Each run is a process of its own, as a user starts it, on all cores. The first training step is
that of the recipe `demo`: the process ends when it has been taken, its network and its input
pipeline built and compiled on the way. What it writes goes to a temporary folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Sequence

from absl import flags

from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError, UserError

PROJECT = Path(__file__).resolve().parents[1]
HELP, WRONG, FIRST = "train_main.py --help", "a wrong flag", "the demo's first training step"
# Seconds on a quiet machine, on two cores.
EXPECTED = {HELP: 3, WRONG: 3, FIRST: 20}


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    from benchmarks import sheet

    sheet.define_flags(rounds=3, threads=None)
    flags.DEFINE_string("data", None, "The demo's data set directory; built if not given.")


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    from benchmarks import sheet

    options = flags.FLAGS
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or build(Path(folder) / "data")
        candidates = {name: sheet.Candidate(make) for name, make in commands(data).items()}
        result = sheet.measure(
            "Start-up",
            candidates,
            rounds=options.rounds,
            threads=options.threads,
            notes=[f"Wanted: {name} within {limit} s." for name, limit in EXPECTED.items()],
        )
    print(f"{sheet.machine_line()}\n\n{sheet.markdown(result)}")
    if options.output:
        sheet.write(options.output, [result])


def commands(data: str | Path) -> dict[str, Callable[[], Callable[[], Any]]]:
    """Returns the name of each row and what makes it: the demo's data set is in `data`."""
    train = str(PROJECT / "train_main.py")
    first = "from benchmarks.startup import until_first_step; until_first_step()"
    programs = {
        HELP: ([train, "--help"], 0),
        WRONG: ([train, "--no_such_flag=1"], 2),
        FIRST: (["-c", first, "--recipe=demo", f"--data={data}"], 0),
    }
    return {name: lambda p=p, code=code: _process(p, code) for name, (p, code) in programs.items()}


def build(directory: Path) -> Path:
    """Builds the demo's data set."""
    _process(["-m", "tfrecords.build", "--source=demo", f"--output={directory}"], 0)()
    return directory


def until_first_step() -> None:
    """Runs train_main.py with the flags of this process, and ends it after one training step."""
    import runpy

    from aacf_tf.training.monitoring import ProgressLine

    ProgressLine.on_train_batch_end = lambda *_, **__: os._exit(0)
    with tempfile.TemporaryDirectory() as folder:
        sys.argv.append(f"--workdir={folder}/run")
        runpy.run_path(str(PROJECT / "train_main.py"), run_name="__main__")


def _process(arguments: Sequence[str], code: int) -> Callable[[], None]:
    def run() -> None:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        if done.returncode != code:
            raise UserError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")

    return run


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
