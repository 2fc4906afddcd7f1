"""Feeds mutated inputs to everything that reads files, and counts what becomes of them.

    python tests/fuzz.py --seconds=60
    python tests/fuzz.py --inputs=10000 --surfaces=images,videos --output=faults
    python tests/fuzz.py --replay=faults/images-0-17-a.png

An input is read (ok), refused in one sentence (refused), or a fault: an error of another kind, a
signal, more than a minute or than 2 GB of memory, a file written outside of the reader's folder, a
program started. Input n of a surface is a function of --seed and n. Faults are saved in --output,
each with a text that says what happened; exit code 1 if there are any.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import itertools
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from multiprocessing import connection
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

TESTS = Path(__file__).resolve().parent
# Before tests/ itself, whose folders have the names of the packages.
sys.path[:0] = [str(TESTS.parent), str(TESTS / "helpers")]

SURFACES = ("tables", "json", "records", "shards", "images", "videos", "masks")
SURFACES = (*SURFACES, "checkpoints", "weights", "wire")
HANG = 60.0  # seconds
START = 300.0  # seconds until a process has opened its surfaces
MEMORY = 2 << 30  # bytes, of the process
ADDRESSES = 16 << 30  # bytes of address space, beside what is used at the start
SENTENCE = 2010  # characters
SAVED = 3  # inputs of one fault
EXECUTED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn")
EXECUTED = (*EXECUTED, "socket.connect", "pty.spawn", "webbrowser.open")

Verdict = Tuple[str, str]  # ok, refused or fault; the sentence, or what happened


class Task(NamedTuple):
    """Input `number` of a surface; a file instead of a mutation in a replay."""

    surface: str
    number: int
    seed: int
    file: Optional[str] = None


def surface_of(name: str) -> Any:
    """Returns a surface by its name."""
    from fuzzing import data, media, models

    return next(vars(m)[name.upper()] for m in (data, media, models) if name.upper() in vars(m))


# ---- a worker ------------------------------------------------------------------------------------


class Guard:
    """Notes, and stops, what a reader must not do; one for the process, since it cannot end."""

    def __init__(self, folder: Path):
        from aacf_tf.weights.files import H5_TRIAL

        self.seen: List[str] = []
        self._trial = ["-I", "-c", H5_TRIAL]  # the one program that a reader starts
        self._allowed = (str(folder), "/dev/", "/proc/")
        sys.addaudithook(self._check)

    def _check(self, event: str, arguments: Tuple[Any, ...]) -> None:
        trial = event == "subprocess.Popen" and [*arguments[1]][1:4] == self._trial
        if event in EXECUTED and not trial:
            self._stop(f"{event} {arguments[:2]}")
        elif event == "open" and isinstance(arguments[0], (str, bytes)):
            path, mode, flags = arguments
            writes = (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and not os.path.abspath(os.fsdecode(path)).startswith(self._allowed):
                self._stop(f"{path!r} is opened for writing ({mode})")
        elif event in ("os.remove", "os.rename", "os.rmdir", "os.mkdir"):
            path = os.path.abspath(os.fsdecode(arguments[0]))
            if not path.startswith(self._allowed):
                self._stop(f"{event} {path}")

    def _stop(self, what: str) -> None:
        self.seen.append(what)
        raise PermissionError(f"the guard of this test stops: {what}")


def work(link: Any, folder: Path, seeds: Path, names: List[str]) -> None:
    """Reads inputs, in a process of its own, until it is told to stop."""
    for name in ("tmp", "empty", "inputs"):
        (folder / name).mkdir(parents=True)
    os.environ["TMPDIR"] = os.environ["MPLCONFIGDIR"] = tempfile.tempdir = str(folder / "tmp")
    os.chdir(folder / "empty")
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):  # what the readers and the libraries print
        os.dup2(log, stream)
    faulthandler.enable()
    sys.dont_write_bytecode = True
    readers = {}
    for name in names:
        (folder / name).mkdir()
        readers[name] = surface_of(name).open(seeds / name, folder / name)
    import matplotlib.font_manager  # noqa: F401  (it asks a program of the system for fonts)

    for name in names:  # other libraries look at the machine when they are used first
        for path in _valid(seeds / name):
            with contextlib.suppress(Exception):
                readers[name](path)
    _limit_addresses()
    guard = Guard(folder)
    link.send(("ready", ""))
    for task in iter(link.recv, None):
        os.ftruncate(log, 0)
        path = _prepare(task, seeds / task.surface, folder / "inputs")
        begun = time.monotonic()
        verdict = judge(readers[task.surface], path, guard)
        link.send((*verdict, time.monotonic() - begun))


def _valid(seeds: Path) -> List[Path]:
    return sorted(path for path in seeds.iterdir() if path.is_file())


def _limit_addresses() -> None:
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESSES, used + ADDRESSES))


def _prepare(task: Task, seeds: Path, folder: Path) -> Path:
    """Writes an input under the name of the valid one that it was made from."""
    from fuzzing.mutate import mutate

    for old in folder.iterdir():
        old.unlink()
    if task.file:
        path = folder / Path(task.file).name.split("-", 3)[3]
        shutil.copy(task.file, path)
        return path
    rng = random.Random(f"{task.seed} {task.surface} {task.number}")
    valid = {path.name: path.read_bytes() for path in _valid(seeds)}
    name = rng.choice([*valid])
    path = folder / name
    path.write_bytes(mutate(rng, name, valid[name], [*valid.values()]))
    return path


def judge(read: Any, path: Path, guard: Guard) -> Verdict:
    """Reads one input."""
    from tfrecords.utils.errors import MachineError, UserError

    guard.seen.clear()
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
    kind, text = "ok", ""
    try:
        read(path)
    except UserError as error:
        kind, text = "refused", " ".join(str(error).split())  # as the commands print it
        if not text or len(text) > SENTENCE or isinstance(error, MachineError):
            kind, text = "fault", f"{type(error).__name__}: {text[:SENTENCE]!r}"
    except BaseException:
        kind, text = "fault", traceback.format_exc()
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    peak_bytes = int(peak[1]) << 10 if peak else 0
    written = os.listdir()
    for name in written:
        shutil.rmtree(name) if os.path.isdir(name) else os.remove(name)
    if guard.seen or written:
        return "fault", f"not allowed: {guard.seen or written}\n{text}"
    if peak_bytes > MEMORY:
        return "fault", f"memory: {peak_bytes >> 20} MB\n{text}"
    return kind, text


# ---- the command ---------------------------------------------------------------------------------


class Worker:
    """A process that reads inputs, and what it is doing."""

    def __init__(self, folder: Path, seeds: Path, names: List[str]):
        self._arguments = folder, seeds, names
        self._starts = itertools.count()
        self.start()

    def start(self) -> None:
        folder, seeds, names = self._arguments
        self.folder = folder / str(next(self._starts))
        context = multiprocessing.get_context("spawn")
        self.link, there = context.Pipe()
        arguments = (there, self.folder, seeds, names)
        self.process = context.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        there.close()
        self.task: Optional[Task] = None
        self.since, self.ready = time.monotonic(), False

    def give(self, task: Task) -> None:
        self.task, self.since = task, time.monotonic()
        self.link.send(task)

    def late(self) -> bool:
        limit = HANG if self.ready else START
        return (self.task is not None or not self.ready) and time.monotonic() - self.since > limit

    def end(self) -> str:
        """Ends the process; returns how it has ended, with the last lines that it printed."""
        if self.process.is_alive() and self.late():
            how = f"hang: more than {HANG:g} s"
        else:
            self.process.join(10)
            code = self.process.exitcode or 0
            how = f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self.stop()
        log = self.folder / "log.txt"
        tail = log.read_text(errors="replace")[-6000:] if log.is_file() else ""
        return f"{how}\n{tail}"

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.link.send(None)
        self.process.join(2.0)
        self.process.kill()
        self.process.join()


class Tally:
    """Counts verdicts and saves faults."""

    def __init__(self, output: Path):
        self.output = output
        self.counts: Dict[str, Counter] = defaultdict(Counter)
        self.faults: Dict[Tuple[str, str], List[str]] = defaultdict(list)

    def add(self, worker: Worker, kind: str, text: str, seconds: float) -> None:
        task = worker.task
        assert task is not None
        counts = self.counts[task.surface]
        counts[kind] += 1
        counts["seconds"] += seconds  # type: ignore[assignment]
        if kind != "fault":
            return
        (path,) = (worker.folder / "inputs").iterdir()
        name = f"{task.surface}-{task.seed}-{task.number}-{path.name}"
        found = self.faults[task.surface, _signature(text)]
        found.append(name)
        if len(found) <= SAVED and not task.file:
            self.output.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, self.output / name)
            (self.output / f"{name}.txt").write_text(text)
        if task.file:
            print(text)

    def table(self) -> str:
        lines = [f"{'surface':<12} {'inputs':>7} {'ok':>7} {'refused':>7} {'faults':>7} {'1/s':>6}"]
        total: Counter = Counter()
        for name, counts in [*self.counts.items(), ("all", total)]:
            kinds = [counts[kind] for kind in ("ok", "refused", "fault")]
            rate = sum(kinds) / max(counts["seconds"], 1e-9)
            cells = "".join(f" {n:>7}" for n in (sum(kinds), *kinds))
            lines.append(f"{name:<12}{cells} {rate:>6.0f}")
            total.update(counts)
        return "\n".join([*lines, "(1/s: of one process)"])


def _signature(text: str) -> str:
    """Returns what faults of one cause share: the error's type and the last place in our code."""
    if not text.startswith("Traceback"):
        return re.sub(r"\d+", "N", text.strip().splitlines()[0])[:100]
    places = re.findall(r'File ".*?((?:aacf_tf|tfrecords|keras_layers)/\S+)", line (\d+)', text)
    error = re.findall(r"^([\w.]+)(?::|$)", text, re.MULTILINE)[-1]
    return f"{error.rpartition('.')[2]} at {':'.join(places[-1]) if places else 'the reader'}"


def tasks_of(arguments: argparse.Namespace, names: List[str]) -> Iterator[Task]:
    """Yields the inputs in turn over the surfaces, without end or as many as asked for."""
    if arguments.replay:
        yield Task(names[0], 0, 0, os.path.abspath(arguments.replay))
        return
    for n in range(arguments.inputs) if arguments.inputs else itertools.count():
        yield Task(names[n % len(names)], n // len(names), arguments.seed)


def feed(workers: List[Worker], tasks: Iterator[Task], seconds: float, tally: Tally) -> None:
    """Gives every idle worker the next input, until time or inputs end."""
    begun = 0.0
    while True:
        ended = bool(begun and seconds and time.monotonic() - begun > seconds)
        for worker in workers:
            if worker.ready and not worker.task and not ended:
                begun = begun or time.monotonic()
                task = next(tasks, None)
                ended = task is None
                if task:
                    worker.give(task)
        if ended and not any(worker.task for worker in workers):
            return
        heard = connection.wait([worker.link for worker in workers], timeout=1.0)
        for worker in workers:
            try:
                if worker.link not in heard and not worker.late():
                    continue
                if worker.link not in heard:
                    raise EOFError
                kind, text, *spent = worker.link.recv()
            except (EOFError, ConnectionResetError):
                text = worker.end()
                if not worker.ready:
                    raise SystemExit(f"a worker cannot start: {text}") from None
                if worker.task:
                    tally.add(worker, "fault", text, time.monotonic() - worker.since)
                worker.start()
                continue
            if worker.task:
                tally.add(worker, kind, text, spent[0])
            worker.ready, worker.task = True, None


def main() -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=0, help="how long; 0: as --inputs says")
    parser.add_argument("--inputs", type=int, default=0, help="how many; 0: as --seconds says")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--surfaces", default=",".join(SURFACES), help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--output", type=Path, help="folder of the faults; default: a temporary one"
    )
    parser.add_argument("--replay", help="a saved fault, to be read once more")
    arguments = parser.parse_args()
    names = arguments.surfaces.split(",")
    if arguments.replay:
        names, arguments.workers = [Path(arguments.replay).name.partition("-")[0]], 1
    elif not (arguments.seconds or arguments.inputs):
        arguments.seconds = 60.0
    unknown = [name for name in names if name not in SURFACES]
    if unknown:
        parser.error(f"expected surfaces among {', '.join(SURFACES)}, received {unknown[0]!r}")
    os.environ.update(OMP_NUM_THREADS="1", TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")
    os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
    tally = Tally(arguments.output or Path(tempfile.mkdtemp(prefix="fuzz-")))
    with tempfile.TemporaryDirectory(prefix="fuzzing-") as scratch:
        seeds = Path(scratch, "seeds")
        for name in names:
            (seeds / name).mkdir(parents=True)
            surface_of(name).make(seeds / name)
        workers = [Worker(Path(scratch, str(n)), seeds, names) for n in range(arguments.workers)]
        try:
            feed(workers, tasks_of(arguments, names), arguments.seconds, tally)
        finally:
            for worker in workers:
                worker.stop()
    print(tally.table())
    for (surface, signature), found in sorted(tally.faults.items()):
        print(f"\n{len(found)} x {surface}: {signature}\n  --replay={tally.output / found[0]}")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
