"""Builds a data set directory from a source.

    python -m tfrecords.build --source=csv --input=clips.csv --output=data/mine
    python -m tfrecords.build --source=csv --input=clips.csv --dry_run
    python -m tfrecords.build ... --runner=beam -- --runner=FlinkRunner --flink_master=host:8081

Rows are decoded on all cores and written in the order of the input: shard i of n holds the rows
i, i + n, ... of its split. A build that was stopped, however hard, continues where it was when the
same command is given again; the result is the same, byte for byte, whatever the runner. Input and
output may be remote (s3://, gs://, az://, hdfs://). What follows `--` are flags of Apache Beam.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import Callable, List, Sequence

from absl import flags

from tfrecords import sources
from tfrecords.build import checks, dry_run, shards
from tfrecords.build.plan import PROGRESS, alone, claim, clear, confirm, refuse_other
from tfrecords.records import dataset
from tfrecords.sources import Source, SourceOptions
from tfrecords.utils import filesystem
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import AnyPath, remove_folder, to_path

RUNNERS = ("local", "beam")
REMOTE_SOURCES = ("csv",)  # whose input may be remote

Writer = Callable[[AnyPath, List[shards.Shard]], None]


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags; in a function, since every command has its own `--output`."""
    names = ", ".join
    text = partial(flags.DEFINE_string, flag_values=values)
    integer = partial(flags.DEFINE_integer, flag_values=values)
    real = partial(flags.DEFINE_float, flag_values=values)
    switch = partial(flags.DEFINE_bool, flag_values=values)
    text("source", "csv", f"Where the clips come from: {names(sources.SOURCES)}.")
    text("input", None, "The csv file, or the folder of the source.")
    text("output", None, "The data set directory to write.")
    text("labels", None, "File with one class a line; else the sorted union of the labels.")
    switch("multi_label", False, "Whether a clip may have several labels (a|b in the csv).")
    text(
        "conjugate",
        None,
        f"Where conjugates come from: {names(sources.CONJUGATES)}. Default for csv: given where it "
        "has the column conjugate_video, else before_after; for jhmdb and voc2012_action: "
        "remove_person; for actionthread: before_after; for hollywood2: frozen_frame; for hacs: "
        "negative_clip.",
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
    switch("strict", False, "End with exit code 1 if a row could not be read.")
    text("data_root", None, "Folder the csv's paths may lie in; else the csv's own.")
    text("classes", None, "A part of the classes of hacs: a,b,c or a file with one a line.")
    return values


def build(
    source: Source, output: str, *, plan: dict, num_shards: int, write: Writer
) -> dataset.DatasetInfo:
    """Builds a data set directory, or what is still missing of it.

    Args:
        source: of the rows.
        output: the directory.
        plan: everything the bytes depend on; a directory built by another plan is refused.
        num_shards: files a split; 0: one for each `shards.ROWS_PER_SHARD` rows.
        write: writes every shard of a list that is not there yet.

    Raises:
        UsageError: the directory holds something else.
        UserError: not one row could be read.
    """
    directory = to_path(output)
    refuse_other(directory, plan)
    if not _finished(directory):
        all_shards = shards.list_shards(source.rows(), num_shards)
        with alone(directory):
            claim(directory, plan)
            if not _finished(directory):  # by a build that has ended since, as below
                write(directory, all_shards)
            if not _finished(directory):  # a remote directory has no lock
                confirm(directory, plan)
                return _finish(source, directory, all_shards)
    remove_folder(directory / PROGRESS)
    print(f"{output} is finished already; nothing to do.")
    return dataset.load_info(directory)


def _finished(directory: AnyPath) -> bool:
    return (directory / dataset.INFO_FILE).is_file()


def _finish(
    source: Source, directory: AnyPath, all_shards: list[shards.Shard]
) -> dataset.DatasetInfo:
    """Sums the shards' notes up and writes what makes the directory complete."""
    from tfrecords.records import writer

    found = shards.sum_up(directory, all_shards)
    if not any(counts["clips"] for counts in found.splits.values()):
        clear(directory)  # the next try begins anew, with this input or another
        remove_folder(directory / PROGRESS)
        file, reason = found.skipped[0]
        raise UserError(
            f"Not one of {len(found.skipped)} rows could be read; the first: {file}: {reason}."
        )
    info = dataset.DatasetInfo(
        source=source.name,
        fps=found.rates.pop() if len(found.rates) == 1 else None,
        frame_size=list(found.sizes.pop()) if len(found.sizes) == 1 else None,
        labels=source.labels,
        multi_label=source.multi_label,
        splits=found.splits,
        modality="rgb" if source.flow == "none" else "rgb+flow",
        warnings=dataset.class_warnings(source.labels, found.labels),
    )
    writer.finish_dataset(directory, info, [*found.skipped, *found.lost], found.manifest)
    if found.lost:
        print(f"Warning: {len(found.lost)} conjugates are missing, see {dataset.SKIPPED_FILE}.")
    remove_folder(directory / PROGRESS)
    return info


def summary(info: dataset.DatasetInfo, output: str, conjugate: str, decoys: bool = False) -> str:
    """What was built, for the terminal; `decoys`: whether photographs were to have some."""
    keys = ("clips", "pairs", "skipped")
    total = {key: sum(counts[key] for counts in info.splits.values()) for key in keys}
    lines = [
        f"{output}: {total['clips']} clips of {len(info.labels)} classes, {total['pairs']} with a "
        f"conjugate ({conjugate}), {total['skipped']} rows skipped"
    ]
    for name, counts in info.splits.items():
        lines.append(
            f"  {name:<12} {counts['clips']:>6} clips {counts['pairs']:>6} pairs "
            f"{counts['skipped']:>4} skipped {counts['shards']:>4} shards"
        )
    if decoys:
        counts = info.splits.get("train", {})
        there, pairs = counts.get("decoys", 0), counts.get("pairs", 0)
        lines.append(f"  {there} of the {pairs} photographs to train on have a decoy")
        if there < pairs:
            lines[-1] += (
                f"; in the other {pairs - there} people left too little room: they are as they were"
            )
    if total["skipped"]:
        lines.append(f"  files and reasons: {to_path(output) / dataset.SKIPPED_FILE}")
    if not total["pairs"] and conjugate != "none":
        lines.append(
            f"  No clip has a conjugate: {conjugate} found none. See --conjugate in --help."
        )
    return "\n".join(lines)


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """The command; see the module's docstring."""
    _check(arguments, values)
    options = SourceOptions(
        **{name: getattr(values, name) for name in SourceOptions.__dataclass_fields__}
    )
    start = time.monotonic()
    source = sources.open_source(values.source, options)
    warnings = checks.warnings(source) + checks.overlaps(source) + checks.class_warnings(source)
    print("".join(f"{remark}\n" for remark in (*source.remarks, *warnings)), end="")
    workers = values.workers or os.cpu_count() or 1
    if values.dry_run:
        planned = shards.list_shards(source.rows(), values.num_shards)
        print(dry_run.describe(source, planned, values.quality, workers, values.output))
        return
    plan = {
        "schema_version": dataset.SCHEMA_VERSION,
        "builder_version": source.version,
        "source": source.name,
        "conjugate": source.conjugate,
        "margin": values.margin,
        "fps": values.fps,
        "short_side": source.short_side,
        "quality": values.quality,
        "num_shards": values.num_shards,
        "multi_label": source.multi_label,
        "labels": source.labels,
        "input_digest": source.fingerprint(),
    }
    if source.flow != "none":
        plan["flow"] = source.flow
    if values.conjugate_rank != "longer":
        plan["conjugate_rank"] = values.conjugate_rank
    if values.stills:
        plan["stills"] = values.stills
    if source.eraser:
        plan.update(source.eraser.plan)
    write = partial(shards.write_all, source, quality=values.quality, workers=workers)
    if values.runner == "beam":
        write = _beam_writer(values, options, source.identity(), arguments)
    info = build(source, values.output, plan=plan, num_shards=values.num_shards, write=write)
    print("".join(f"{text}\n" for text in info.warnings if text not in warnings), end="")
    print(summary(info, values.output, source.conjugate, values.decoys))
    seconds = time.monotonic() - start
    print(f"  {seconds:.0f} s. Look into it: python -m tfrecords.show {values.output}")
    skipped = sum(counts["skipped"] for counts in info.splits.values())
    if values.strict and skipped:
        raise UserError(
            f"{skipped} rows could not be read (--strict); {values.output}/skipped.csv names them."
        )


def _beam_writer(
    values: flags.FlagValues, options: SourceOptions, identity: str, arguments: Sequence[str]
) -> Writer:
    try:
        from tfrecords.build import beam
    except ImportError as error:
        raise UsageError(
            f"--runner=beam needs Apache Beam (pip install 'aacf-tf[beam]'), received: {error}."
        ) from error

    def write(directory: AnyPath, all_shards: List[shards.Shard]) -> None:
        missing = shards.list_missing(directory, all_shards)
        print(f"{len(missing)} of {len(all_shards)} shards are to be written by Beam.", flush=True)
        beam.write_all(
            partial(sources.open_source, values.source, options),
            identity,
            str(directory),
            missing,
            quality=values.quality,
            num_shards=values.num_shards,
            arguments=arguments,
        )

    return write


def _check(arguments: Sequence[str], values: flags.FlagValues) -> None:
    """Refuses values that no build can use."""
    if values.runner not in RUNNERS:
        raise UsageError(f"Expected --runner among {', '.join(RUNNERS)}, received {values.runner}.")
    wrong = [text for text in arguments if values.runner == "local" or not text.startswith("--")]
    if wrong:
        raise UsageError(f"Expected flags only (see --help), received {wrong[0]!r}.")
    if not values.output and not values.dry_run:
        raise UsageError("Expected --output to name the directory to write, received none.")
    for name in ("input", "output", "labels", "data_root", "filler"):
        text = getattr(values, name) or ""
        if "://" not in text:
            continue
        if not filesystem.is_remote(text):
            schemes = ", ".join(filesystem.SCHEMES)
            raise UsageError(f"Expected --{name} to begin with {schemes}, received {text}.")
        if name == "output" and text.startswith(filesystem.READ_ONLY):
            raise UsageError(f"Expected --output where files can be written, received {text}.")
        if name == "filler" and text.startswith(filesystem.READ_ONLY):
            raise UsageError(f"Expected --filler where folders can be listed, received {text}.")
        if name in ("input", "data_root") and values.source not in REMOTE_SOURCES:
            raise UsageError(
                f"Expected --{name} on this machine for --source={values.source} (remote: "
                f"{', '.join(REMOTE_SOURCES)}), received {text}."
            )
    limits = {
        "margin": (0, None),
        "quality": (1, 100),
        "num_shards": (0, 100_000),
        "workers": (0, 1024),
        "stills": (0, 1000),
    }
    if values.fps is not None:
        limits["fps"] = (0.1, 1000)
    if values.short_side is not None:
        limits["short_side"] = (0, None)
    for name, (low, high) in limits.items():
        received = getattr(values, name)
        if not low <= received <= (sys.float_info.max if high is None else high):
            expected = f"at least {low}" if high is None else f"{low} to {high}"
            raise UsageError(f"Expected --{name} of {expected}, received {received}.")
