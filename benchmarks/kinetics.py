"""Estimates a data set of Kinetics-700's size: bytes, hours of building, hours of a GPU.

    python benchmarks/kinetics.py                       650,000 clips of 10 s; a minute
    python benchmarks/kinetics.py --clips=20000 --seconds=4 --epochs=60

Measured here, on one core, are the builder and the reader, on drawn H.264 videos of 320x240 and 25
frames/s (their JPEGs are as large as those of J-HMDB); counted are the operations of I3D. All else
is arithmetic, which stands beside every result. Hours of a GPU are ESTIMATES: no GPU was used. They
take the peak rates that NVIDIA publishes for dense bfloat16 and assume that training reaches
`--utilization` of them.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Mapping, NamedTuple, Sequence

from absl import flags

from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError

GPUS = {"A100": 312.0, "H100 SXM": 989.0}  # TFLOP/s, dense bfloat16, by the data sheets
RATE, STORED = 25, 10  # frames a second: of the videos, of the records
SIZES = {"16x112x112": (16, 112, 112), "64x224x224": (64, 224, 224)}
PASSES = 20  # of the reader over the clips
FEATURES = (8, 7, 7, 1024)  # of 64x224x224 at Mixed_5c, kept as float16


class Inputs(NamedTuple):
    """Holds what was measured or counted of one clip.

    Attributes:
        clip_bytes: Bytes of its record.
        build_seconds: on one core, to decode all its frames and to encode those that are stored.
        read_frames: frames a second that one core reads.
        gflop: size of the input -> cost of I3D forward to `Mixed_5c`.
    """

    clip_bytes: float
    build_seconds: float
    read_frames: float
    gflop: Mapping[str, float]


class Line(NamedTuple):
    """A result: what it is, its value with unit, and how it comes about."""

    name: str
    value: str
    arithmetic: str


def define_flags() -> None:
    """Defines the command's flags."""
    flags.DEFINE_integer("clips", 650_000, "Of the data set.", 1)
    flags.DEFINE_float("seconds", 10.0, "Of one clip.", 1.0)
    flags.DEFINE_integer("epochs", 30, "Of training.", 1)
    flags.DEFINE_float("utilization", 0.4, "Share of a GPU's peak that is assumed.", 0.01, 1.0)
    flags.DEFINE_integer("videos", 6, "Drawn to measure the builder.", 1)
    flags.DEFINE_string("output", None, "Writes OUTPUT.json and OUTPUT.md.")


def main(arguments: Sequence[str]) -> None:
    """The command; see the module's docstring."""
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    from benchmarks import machine, sheet
    from tfrecords.utils.atomic import write_json, write_text

    if hasattr(os, "sched_setaffinity"):  # before TensorFlow counts the cores
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    options = flags.FLAGS
    inputs = measure(options.videos, options.seconds)
    lines = costs(inputs, options.clips, options.seconds, options.epochs, options.utilization)
    text = f"{sheet.machine_line()}\n\n{table(lines)}\n"
    print(text)
    if options.output:
        content = {"machine": machine.describe(), "inputs": inputs._asdict()}
        content["lines"] = [line._asdict() for line in lines]
        write_json(Path(f"{options.output}.json"), content)
        write_text(Path(f"{options.output}.md"), text)


def measure(videos: int, seconds: float) -> Inputs:
    """Builds and reads drawn videos, and counts the operations of I3D."""
    from aacf_tf.backbones import build_backbone
    from benchmarks import backbones, data
    from tfrecords.build import command
    from tfrecords.reading.clips import read_dataset
    from tfrecords.records import dataset

    with tempfile.TemporaryDirectory() as folder:
        table = data.draw_videos(Path(folder), videos, int(RATE * seconds))
        directory = Path(folder) / "data"
        values = command.define_flags(flags.FlagValues())
        given = {"input": table, "output": directory, "fps": STORED, "conjugate": "none"}
        values(["build", *(f"--{name}={value}" for name, value in given.items()), "--workers=1"])
        begin = time.perf_counter()
        with open(os.devnull, "w") as null, redirect_stdout(null), redirect_stderr(null):
            command.main([], values)
        built = time.perf_counter() - begin
        shards = dataset.load_manifest(directory)
        size = sum(entry["bytes"] for entry in shards.values())
        info = dataset.load_info(directory)
        frames = int(STORED * seconds)
        batches = read_dataset(
            directory, "train", frames, info.frame_size, 1, training=False, epochs=PASSES
        )
        iterator = iter(batches)
        next(iterator)  # to begin takes longer than to go on
        begin = time.perf_counter()
        # A clip without a conjugate is decoded once and stands for it.
        rate = frames * sum(1 for _ in iterator) / (time.perf_counter() - begin)
    model = build_backbone("i3d")
    gflop = {
        name: sum(backbones.count_flop(model, (1, *sides, 3)).values()) / 1e9
        for name, sides in SIZES.items()
    }
    return Inputs(size / videos, built / videos, rate, gflop)


def costs(
    inputs: Inputs, clips: int, seconds: float, epochs: int, utilization: float
) -> list[Line]:
    """Does the arithmetic; see the flags for the arguments."""
    hours = clips * inputs.build_seconds / 3600
    values = FEATURES[0] * FEATURES[1] * FEATURES[2] * FEATURES[3]
    lines = [
        Line(
            "records",
            f"{clips * inputs.clip_bytes / 1e12:.2f} TB",
            f"{clips:,} clips x {inputs.clip_bytes / 1e6:.2f} MB ({seconds:g} s at {STORED} "
            "frames/s, shorter side 128 pixels, JPEG 4:4:4 of quality 95, no conjugates)",
        ),
        Line(
            "build",
            f"{hours:.0f} core hours",
            f"{clips:,} clips x {inputs.build_seconds:.2f} s / 3600; {hours / 64:.1f} h on 64 "
            "cores",
        ),
        Line(
            "cached features",
            f"{2 * clips * values / 1e12:.2f} TB",
            f"{clips:,} clips x {'x'.join(map(str, FEATURES))} x 2 bytes",
        ),
    ]
    for gpu, peak in GPUS.items():
        rate = 1e3 * peak * utilization  # GFLOP/s
        once = clips * inputs.gflop["64x224x224"] / rate
        lines.append(
            Line(
                f"features of 64x224x224, {gpu}",
                f"{once / 3600:.2f} GPU hours (estimate)",
                f"{clips:,} clips x {inputs.gflop['64x224x224']:.1f} GFLOP / ({peak:g} TFLOP/s x "
                f"{utilization:g})",
            )
        )
        for name, sides in SIZES.items():
            step = 2 * 3 * inputs.gflop[name]  # clip and conjugate, forward and twice backward
            total = epochs * clips * step / rate / 3600
            frames = 2 * sides[0] * rate / step
            lines.append(
                Line(
                    f"training at {name}, {gpu}",
                    f"{total:.0f} GPU hours (estimate)",
                    f"{epochs} epochs x {clips:,} pairs x 2 clips x 3 x {inputs.gflop[name]:.1f} "
                    f"GFLOP / ({peak:g} TFLOP/s x {utilization:g}); the reader must give "
                    f"{frames:,.0f} frames/s: {frames / inputs.read_frames:.0f} cores at "
                    f"{inputs.read_frames:,.0f} frames/s",
                )
            )
    return lines


def table(lines: Sequence[Line]) -> str:
    """Returns the results as a Markdown table."""
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join(["| | | how |", "|---|---|---|", *rows])


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
