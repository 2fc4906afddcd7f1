"""Measures how time and memory grow with data and model; nothing may outgrow its cause.

    python benchmarks/growth.py --output=growth         15 minutes on 2 cores, 1.5 GB of disk
    python benchmarks/growth.py --quick                 three points a curve, no memory: 2 minutes
    python benchmarks/growth.py --curve=plan,build --output=growth      the other curves stay

A training step of the recipe `demo` (its network, its loss, 16 pairs of 12 frames of 40x40) where
one thing grows at a time: frames, pixels of a frame, pairs, classes. Data sets of tiny records (two
frames of 16x16 and their conjugate), the same one again and again: writing, reading in order and
shuffled, `show`, `verify`; the number of shards and of classes; the rows of a table that a build
plans, and the videos that it decodes.

Every curve ends with exponents, time ~ x^e: fitted through all points, and between the last two.
The last one tells: a constant cost hides growth among small sizes. Above 1.1 it is marked. Times
are the minimum over the rounds. OUTPUT.png shows all curves, each as multiples of its first point,
beside a line of exponent 1.
"""

from __future__ import annotations

import csv
import functools
import math
import os
import shutil
import statistics
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Sequence

from absl import flags

from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    from benchmarks import sheet

LIMIT = 1.1  # exponent that is still linear: timings scatter
QUICK = 3  # points of a curve
RECORDS = 10_000  # where shards grow
BATCH = 100  # records a batch
MEGA = 2**20  # bytes; less memory than this is noise


class Curve(NamedTuple):
    """Describes one quantity that grows.

    Attributes:
        axis: Name of the quantity x.
        make: x and a folder for files -> the call to time; a function of the top level.
        points: values of x.
    """

    axis: str
    make: Callable[[int, str], Callable[[], Any]]
    points: tuple[int, ...]


def define_flags() -> None:
    """Defines the command's flags."""
    from benchmarks import sheet

    sheet.define_flags(rounds=2)
    flags.DEFINE_list("curve", [*CURVES], f"Of {', '.join(CURVES)}.")
    flags.DEFINE_bool("quick", False, f"{QUICK} points a curve, time alone.")


def main(arguments: Sequence[str]) -> None:
    """The command; see the module's docstring."""
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    options = flags.FLAGS
    for name in options.curve:
        if name not in CURVES:
            raise UsageError(f"--curve: expected some of {', '.join(CURVES)}, received {name!r}.")
    from benchmarks import machine, sheet

    machine.hold(options.threads)
    print(sheet.machine_line(), flush=True)
    sheets = sheet.read(options.output) if options.output else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.curve:
            sheets[name] = run(name, folder, options.rounds, options.threads, options.quick)
            print(f"\n{sheet.markdown(sheets[name])}", flush=True)
            if options.output:  # what is measured is kept, whatever becomes of the rest
                sheets = {known: sheets[known] for known in CURVES if known in sheets}
                sheet.write(options.output, [*sheets.values()])
                plot(sheets, Path(f"{options.output}.png"))


def run(name: str, folder: str, rounds: int, threads: int, quick: bool) -> sheet.Sheet:
    """Measures a curve; `folder` is for its files."""
    from benchmarks import sheet

    curve = CURVES[name]
    points = curve.points[:QUICK] if quick else curve.points
    found = sheet.measure(
        name,
        {
            str(x): sheet.Candidate(functools.partial(curve.make, x, folder), memory=not quick)
            for x in points
        },
        rounds=rounds,
        threads=threads,
        settings={"x": curve.axis},
    )
    for what, (fitted, last) in exponents(found).items():
        mark = f": above {LIMIT:g}" if last > LIMIT else ""
        found.notes.append(f"- {what} ~ x^{fitted:.2f}, between the last two x^{last:.2f}{mark}")
    return found


def exponents(found: sheet.Sheet) -> dict[str, tuple[float, float]]:
    """Returns the exponents of time and, if measured, memory: of all points, of the last two."""
    rows = {int(x): row for x, row in found.rows.items()}
    curves = {"time": [min(row.milliseconds) for row in rows.values()]}
    if all(row.bytes is not None for row in rows.values()):
        curves["memory"] = [max(row.bytes, MEGA) for row in rows.values()]
    places = [math.log(x) for x in rows]
    result = {}
    for name, values in curves.items():
        logs = [math.log(value) for value in values]
        fitted = statistics.linear_regression(places, logs).slope
        result[name] = fitted, (logs[-1] - logs[-2]) / (places[-1] - places[-2])
    return result


# ---- a training step -----------------------------------------------------------------------------


def make_step(
    x: int, folder: str, *, frames: int = 12, pixels: int = 1600, pairs: int = 16, classes: int = 6
) -> Callable[[], Any]:
    """Builds a training step of `demo`; the argument that the curve is about is left to x."""
    import tensorflow as tf

    from aacf_tf import recipes
    from aacf_tf.models.factory import build_model
    from aacf_tf.training.optimizers import make_optimizer

    recipe = recipes.load_recipe("demo")
    stage = recipe.stages[-1]
    model = build_model(recipe, classes, stage=stage, steps=100)
    model.compile(
        optimizer=make_optimizer(recipes.plan_stage(recipe, stage, 100), model), weighted_metrics=[]
    )
    side = math.isqrt(pixels)
    clip = tf.cast(tf.fill([pairs, frames, side, side, 3], 100), tf.uint8)
    inputs = {"clip": clip, "conjugate": clip, "has_conjugate": tf.ones([pairs], tf.bool)}
    step = tf.function(lambda *batch: model.train_step(batch))
    return lambda: step(inputs, tf.zeros([pairs], tf.int32), tf.ones([pairs]))


def make_frames(x: int, folder: str) -> Callable[[], Any]:
    return make_step(x, folder, frames=x)


def make_pixels(x: int, folder: str) -> Callable[[], Any]:
    return make_step(x, folder, pixels=x)


def make_pairs(x: int, folder: str) -> Callable[[], Any]:
    return make_step(x, folder, pairs=x)


def make_classes(x: int, folder: str) -> Callable[[], Any]:
    return make_step(x, folder, classes=x)


# ---- a data set ----------------------------------------------------------------------------------


def write_data(directory: Path, clips: int, shards: int = 0, classes: int = 2) -> Path:
    """Writes a data set of one record again and again; shards 0: one for each 10,000 records."""
    from benchmarks import drawn

    labels = [f"class {number}" for number in range(classes)]
    pair = drawn.draw_pair(0, 2, 16, 16, labels[0])
    return drawn.write_copies(directory, [pair], labels, clips, shards or -(-clips // 10_000))


def make_write(x: int, folder: str) -> Callable[[], Any]:
    directory = Path(folder) / f"write-{x}"

    def write() -> None:
        shutil.rmtree(directory, ignore_errors=True)
        write_data(directory, x)

    return write


def make_read(directory: Path, training: bool) -> Callable[[], Any]:
    """Builds one epoch of batches."""
    from tfrecords.reading.clips import read_dataset

    batches = read_dataset(directory, "train", 2, (16, 16), BATCH, training)

    def read() -> None:
        for _ in batches:
            pass

    return read


def make_read_in_order(x: int, folder: str) -> Callable[[], Any]:
    return make_read(write_data(Path(folder) / f"records-{x}", x), training=False)


def make_read_shuffled(x: int, folder: str) -> Callable[[], Any]:
    return make_read(write_data(Path(folder) / f"records-{x}", x), training=True)


def make_read_shards(x: int, folder: str) -> Callable[[], Any]:
    directory = write_data(Path(folder) / f"shards-{x}", RECORDS, shards=x)
    return make_read(directory, training=True)


def make_show(x: int, folder: str) -> Callable[[], Any]:
    from tfrecords.show.describe import describe

    directory = write_data(Path(folder) / f"records-{x}", x)
    return functools.partial(describe, str(directory))


def make_verify(x: int, folder: str) -> Callable[[], Any]:
    from tfrecords.show.verify import verify

    return functools.partial(verify, write_data(Path(folder) / f"records-{x}", x))


def make_open(x: int, folder: str) -> Callable[[], Any]:
    from tfrecords.records import dataset

    return functools.partial(
        dataset.load_info, write_data(Path(folder) / f"classes-{x}", 1, classes=x)
    )


# ---- a build -------------------------------------------------------------------------------------


def write_table(folder: str, videos: int, rows: int) -> Path:
    """Writes videos (the same one, linked) and a table of rows spread evenly over them."""
    from benchmarks.data import draw_videos

    directory = Path(folder) / f"videos-{videos}-{rows}"
    table = directory / "clips.csv"
    if table.is_file():
        return table
    directory.mkdir()
    draw_videos(directory, 1, 16)
    names = [f"video-{n}.mp4" for n in range(videos)]
    for name in names:
        os.link(directory / "0.mp4", directory / name)
    with table.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("video", "label", "start", "end"))
        for n in range(rows):
            start = n // videos / 100
            lines.writerow((names[n % videos], f"class {n % 7}", start, start + 0.5))
    return table


def make_plan(x: int, folder: str) -> Callable[[], Any]:
    """Builds what a build does before it decodes: 50 clips a video."""
    from tfrecords import sources
    from tfrecords.build import checks, shards

    table = write_table(folder, max(1, x // 50), x)

    def plan() -> None:
        source = sources.open_source("csv", sources.SourceOptions(input=str(table)))
        checks.warnings(source)
        source.fingerprint()
        shards.list_shards(source.rows(), 0)

    return plan


def make_build(x: int, folder: str) -> Callable[[], Any]:
    """Builds a whole build of x videos, one clip each."""
    from tfrecords.build import command

    table = Path(write_table(folder, x, x))
    output = Path(folder) / f"built-{x}"

    def run_build() -> None:
        shutil.rmtree(output, ignore_errors=True)
        values = command.define_flags(flags.FlagValues())
        values(["build", f"--input={table}", f"--output={output}", "--conjugate=none"])
        with open(os.devnull, "w") as null, redirect_stdout(null), redirect_stderr(null):
            command.main([], values)

    return run_build


RECORD_POINTS = (100, 1000, 10_000, 100_000)
CURVES = {
    "frames": Curve("frames of a clip", make_frames, (6, 12, 24, 48)),
    "pixels": Curve("pixels of a frame", make_pixels, (400, 1600, 6400, 25_600)),
    "batch": Curve("pairs of a batch", make_pairs, (4, 8, 16, 32, 64)),
    "classes": Curve("classes", make_classes, (6, 60, 600, 6000)),
    "write": Curve("records", make_write, RECORD_POINTS),
    "read": Curve("records, in order", make_read_in_order, RECORD_POINTS),
    "shuffle": Curve("records, shuffled", make_read_shuffled, RECORD_POINTS),
    "show": Curve("records", make_show, RECORD_POINTS),
    "verify": Curve("records", make_verify, RECORD_POINTS[:-1]),
    "shards": Curve(f"shards of {RECORDS} records", make_read_shards, (1, 10, 100, 1000)),
    "open": Curve("classes of a data set", make_open, (10, 100, 1000, 10_000)),
    "plan": Curve("rows of a table", make_plan, RECORD_POINTS),
    "build": Curve("videos", make_build, (8, 32, 128, 512)),
}


def plot(sheets: dict[str, sheet.Sheet], path: Path) -> None:
    """Draws a panel a curve: time and memory as multiples of the first point, log-log."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from tfrecords.utils.atomic import replacing

    columns = min(5, len(sheets))
    rows = -(-len(sheets) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(2.4 * columns, 2.3 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(sheets) :]:
        axis.set_axis_off()
    for axis, (name, found) in zip(axes.flat, sheets.items()):
        x = [int(key) for key in found.rows]
        times = [min(row.milliseconds) for row in found.rows.values()]
        axis.loglog(x, [v / x[0] for v in x], "--", color="#999999", label="linear")
        axis.loglog(x, [v / times[0] for v in times], "o-", color="#0072b2", label="time")
        memory = [row.bytes for row in found.rows.values()]
        if None not in memory:
            memory = [max(v, MEGA) for v in memory]
            axis.loglog(x, [v / memory[0] for v in memory], "s-", color="#e69f00", label="memory")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel(CURVES[name].axis, fontsize=7)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    handles = [line for axis in axes.flat for line in axis.get_lines()]
    named = {line.get_label(): line for line in handles}
    figure.legend(
        named.values(), named, ncol=3, frameon=False, fontsize=8, loc="outside upper center"
    )
    figure.supylabel("times the first point", fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
