"""Builds a data set directory from a source.

    python -m tfrecords.build --source=csv --input=clips.csv --output=data/mine
    python -m tfrecords.build --source=csv --input=clips.csv --dry_run
    python -m tfrecords.build ... --runner=beam -- --runner=FlinkRunner --flink_master=host:8081

Rows are decoded on all cores and written in the order of the input: shard i of n holds the rows
i, i + n, ... of its split. The same command resumes a build that was stopped, however hard; the
result is the same, byte for byte, with every runner. Input and output may be remote (s3://, gs://,
az://, hdfs://). Flags after `--` are those of Apache Beam.
"""

from __future__ import annotations

import dataclasses
import os
import time
from functools import partial
from typing import Sequence

from absl import flags

from tfrecords import sources
from tfrecords.build import checks, dry_run, shards
from tfrecords.build.builder import build_dataset, summary
from tfrecords.records.dataset import INFO_FILE
from tfrecords.sources import SourceOptions
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import check_output, is_remote, to_path

RUNNERS = ("local", "beam")


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags; a function, since every command has its own `--output`."""
    names = ", ".join
    text = partial(flags.DEFINE_string, flag_values=values)
    integer = partial(flags.DEFINE_integer, flag_values=values)
    real = partial(flags.DEFINE_float, flag_values=values)
    switch = partial(flags.DEFINE_bool, flag_values=values)
    text("source", "csv", f"Where the clips come from: {names(sources.SOURCES)}.")
    text("input", None, "The csv file, or the folder of the source.")
    text("output", None, "The data set directory to write.")
    text("labels", None, "File with one class a line; else the sorted union of the labels.")
    text("encoding", None, "Encoding of tables and lists, such as latin-1; else UTF-8 or UTF-16.")
    text(
        "make_splits",
        None,
        "Shares of train, validation and test in percent, such as 70,15,15: splits by source video "
        "and class. With ,overwrite in place of the input's own.",
    )
    text(
        "group_pattern",
        None,
        "Regular expression; clips whose paths agree in its first group stay in one split.",
    )
    text(
        "near_duplicates",
        None,
        "Clips of different splits that look alike: name them, keep them apart (in one split) or "
        "ignore them. Default name with --make_splits, else ignore.",
    )
    real(
        "frames_fps",
        None,
        "Frames a second of folders of frames, which then count as videos, and of frame numbers "
        "in annotations.",
    )
    switch("multi_label", False, "Whether a clip may have several labels (a|b in the csv).")
    text(
        "conjugate",
        None,
        f"Where conjugates come from: {names(sources.CONJUGATES)}. Default for csv: given where it "
        "has the column conjugate_video, else before_after; for jhmdb and voc2012_action: "
        "remove_person; for actionthread: before_after; for hollywood2: frozen_frame; for hacs: "
        "negative_clip; for tfrecords: none.",
    )
    text(
        "people",
        "none",
        f"What finds the people of clips without a mask: {names(sources.PEOPLE)}. mediapipe needs "
        "python -m tfrecords.people --install once; motion takes what moves; auto is mediapipe "
        "where it can be had, else motion.",
    )
    real("margin", 0.5, "Seconds between a clip and its conjugate before or after it.")
    text(
        "conjugate_rank",
        "longer",
        "Which span before_after takes: on the longer free side, or alike: most like the clip's "
        "own background.",
    )
    real("fps", None, "Frames a second stored; else each file's own; for hacs 16.")
    integer(
        "short_side",
        None,
        "Shorter side of frames in pixels, never enlarged; 0: as it is. Default 128; for "
        "photographs 256.",
    )
    integer("quality", 95, "JPEG quality, 1 to 100.")
    integer("stills", 0, "Photographs made of each clip of csv or jhmdb; 0: clips stay clips.")
    text(
        "filler",
        "telea",
        "What fills the hole that a person leaves in a photograph: telea (OpenCV), or the folder "
        "of an exported completion network.",
    )
    text("blend", "poisson", f"The seam of that hole: {names(sources.BLENDS)}.")
    switch(
        "decoys",
        False,
        "Fill a hole as large in photographs to train on too, away from all people, so that a "
        "filling tells nothing.",
    )
    text("flow", "none", f"Optical flow stored beside the frames: {names(sources.FLOWS)}.")
    integer("num_shards", 0, f"Files a split; 0: one for each {shards.ROWS_PER_SHARD} rows.")
    integer("workers", 0, "Rows decoded at a time; 0: as many as there are cores.")
    text("runner", "local", f"What does the work: {names(RUNNERS)} (Apache Beam; its flags: --).")
    switch("dry_run", False, "Count, decode a few rows, estimate time and bytes; write nothing.")
    switch("retry_skipped", False, "Try again what a finished build left out.")
    switch("strict", False, "End with exit code 1 if a row could not be read.")
    text("data_root", None, "Folder the csv's paths may lie in; else the csv's own.")
    integer("fold", 1, "Number of the division into splits of ucf101 or hmdb51, 1 to 3.")
    text(
        "tier",
        None,
        "What holds the actions, a,b,c: tiers of elan, controls of label_studio, attributes of via "
        "and cvat. Default all.",
    )
    text("classes", None, "A part of the classes of hacs: a,b,c or a file with one a line.")
    return values


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Runs the command; see the module's docstring."""
    _check(arguments, values)
    names = [item.name for item in dataclasses.fields(SourceOptions)]
    options = SourceOptions(**{name: getattr(values, name) for name in names})
    numbers = {name: getattr(values, name) for name in ("quality", "num_shards", "workers")}
    if values.dry_run:
        source = checks.open_checked(options, values.output, values.source, **numbers)
        planned = shards.list_shards(source.rows(), values.num_shards)
        workers = values.workers or os.cpu_count() or 1
        print(dry_run.describe(source, planned, values.quality, workers, values.output))
        return
    start = time.monotonic()
    info = build_dataset(
        options,
        values.output,
        source=values.source,
        retry_skipped=values.retry_skipped,
        runner=values.runner,
        beam_arguments=arguments,
        **numbers,
    )
    print(summary(values.output))
    seconds = time.monotonic() - start
    print(f"  {seconds:.0f} s. Look into it: python -m tfrecords.show {values.output}")
    skipped = sum(counts["skipped"] for counts in info.splits.values())
    if values.strict and skipped:
        raise UserError(
            f"{skipped} rows could not be read (--strict); {values.output}/skipped.csv names them."
        )


def _check(arguments: Sequence[str], values: flags.FlagValues) -> None:
    """Checks the flags that `build_dataset` does not."""
    if values.runner not in RUNNERS:
        raise UsageError(f"Expected --runner among {', '.join(RUNNERS)}, received {values.runner}.")
    wrong = [text for text in arguments if values.runner == "local" or not text.startswith("--")]
    if wrong:
        raise UsageError(f"Expected flags only (see --help), received {wrong[0]!r}.")
    if not values.output and not values.dry_run:
        raise UsageError("Expected --output to name the directory to write, received none.")
    if not values.output or is_remote(values.output):
        return
    output = to_path(values.output)
    writes = values.retry_skipped or not (output / INFO_FILE).is_file()
    if writes and not values.dry_run:
        check_output(output, "output", folder=True)
