"""Builds a data set directory from the rows of a source; `command` describes what is built."""

from __future__ import annotations

import logging
import os
from functools import partial
from types import ModuleType
from typing import Callable, List, Sequence

from tfrecords.build import checks, shards
from tfrecords.build.plan import PROGRESS, alone, claim, clear, confirm, make_plan, refuse_other
from tfrecords.build.plan import load as load_plan
from tfrecords.records import dataset
from tfrecords.records.dataset import DatasetInfo
from tfrecords.sources import Source, SourceOptions, open_source
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import AnyPath, remove_folder, to_path

logger = logging.getLogger(__name__)

Writer = Callable[[AnyPath, List[shards.Shard]], None]


def build_dataset(
    options: SourceOptions,
    output: StrPath,
    *,
    source: str = "csv",
    quality: int = 95,
    num_shards: int = 0,
    workers: int = 0,
    retry_skipped: bool = False,
    runner: str = "local",
    beam_arguments: Sequence[str] = (),
) -> DatasetInfo:
    """Builds a data set directory, or the part of it that is still missing.

    Args:
        options: Options of the source: its input, and what becomes of its rows.
        output: The directory; may be remote.
        source: Name of the source, one of `tfrecords.sources.SOURCES`.
        quality: JPEG quality, 1..100.
        num_shards: Files a split; 0: one for each `shards.ROWS_PER_SHARD` rows.
        workers: Rows decoded at a time; 0: as many as there are cores.
        retry_skipped: Whether rows and conjugates that a finished build left out are tried again.
        runner: "local", or "beam" for an Apache Beam pipeline.
        beam_arguments: Beam's own flags.

    Returns:
        The content of the directory's `dataset.json`.

    Raises:
        UsageError: An option is out of its range, or the directory holds something else.
        UserError: Not one row could be read.
    """
    opened = checks.open_checked(options, output, source, quality, num_shards, workers)
    directory, plan = to_path(output), make_plan(opened, options, quality, num_shards)
    workers = workers or os.cpu_count() or 1
    write: Writer = partial(shards.write_all, opened, quality=quality, workers=workers)
    if runner == "beam":
        beam, opener = _import_beam(), partial(open_source, source, options)
        step = beam.WriteShard(opener, opened.identity(), str(directory), quality, num_shards)
        write = partial(beam.write_all, step, beam_arguments)
    refuse_other(directory, plan, retry_skipped)
    if retry_skipped and _finished(directory):
        with alone(directory):
            shards.reopen(directory, shards.list_shards(opened.rows(), num_shards), plan)
    if not _finished(directory):
        all_shards = shards.list_shards(opened.rows(), num_shards)
        with alone(directory):
            claim(directory, plan)
            if not _finished(directory):  # another build may have ended meanwhile, as below
                write(directory, all_shards)
            if not _finished(directory):  # a remote directory has no lock
                confirm(directory, plan)
                return _finish(opened, directory, all_shards)
    remove_folder(directory / PROGRESS)
    logger.info(f"{output} is finished already; nothing to do.")
    return dataset.load_info(directory)


def summary(directory: StrPath) -> str:
    """Returns the counts of a finished build as text for the terminal."""
    info, plan = dataset.load_info(directory), load_plan(to_path(directory)) or {}
    keys, conjugate = ("clips", "pairs", "skipped"), plan.get("conjugate", "none")
    total = {key: sum(counts.get(key, 0) for counts in info.splits.values()) for key in keys}
    lines = [
        f"{directory}: {total['clips']} clips of {len(info.labels)} classes, {total['pairs']} with "
        f"a conjugate ({conjugate}), {total['skipped']} rows skipped"
    ]
    for name, counts in info.splits.items():
        lines.append(
            f"  {name:<12} {counts['clips']:>6} clips {counts['pairs']:>6} pairs "
            f"{counts.get('skipped', 0):>4} skipped {counts['shards']:>4} shards"
        )
    if conjugate == "auto":
        lines.append(f"  conjugates: {dataset.conjugate_kinds(info) or 'none'}")
    if plan.get("people"):
        found = dataset.mask_origins(info) or "none"
        lines.append(f"  masks: {found}, of {total['clips']} clips; people by {plan['people']}")
    if plan.get("decoys"):
        counts = info.splits.get("train", {})
        decoys, pairs = counts.get("decoys", 0), counts.get("pairs", 0)
        lines.append(f"  {decoys} of the {pairs} photographs to train on have a decoy")
        if decoys < pairs:
            lines[-1] += f"; in the other {pairs - decoys} people left too little room: they are "
            lines[-1] += "as they were"
    if total["skipped"]:
        lines.append(f"  files and reasons: {to_path(directory) / dataset.SKIPPED_FILE}")
    if not total["pairs"] and conjugate != "none":
        lines.append(
            f"  No clip has a conjugate: {conjugate} found none. See --conjugate in --help."
        )
    return "\n".join(lines)


def _finished(directory: AnyPath) -> bool:
    return (directory / dataset.INFO_FILE).is_file()


def _finish(source: Source, directory: AnyPath, all_shards: list[shards.Shard]) -> DatasetInfo:
    """Sums up the notes of the shards and writes the files that complete the directory."""
    from tfrecords.records import writer

    total = shards.sum_up(directory, all_shards)
    if not any(counts["clips"] for counts in total.splits.values()):
        clear(directory)  # the next build begins anew, with this input or another
        remove_folder(directory / PROGRESS)
        file, reason = total.skipped[0]
        raise UserError(
            f"Not one of {len(total.skipped)} rows could be read; the first: {file}: {reason}."
        )
    info = DatasetInfo(
        source=source.name,
        fps=total.rates.pop() if len(total.rates) == 1 else None,
        frame_size=list(total.sizes.pop()) if len(total.sizes) == 1 else None,
        labels=source.labels,
        multi_label=source.multi_label,
        splits=total.splits,
        modality="rgb" if source.flow == "none" else "rgb+flow",
        warnings=dataset.class_warnings(source.labels, total.labels),
    )
    writer.finish_dataset(directory, info, [*total.skipped, *total.lost], total.manifest)
    said = checks.class_warnings(source)  # of all rows; some may have been left out since
    for warning in info.warnings:
        if warning not in said:
            logger.warning(warning)
    if total.lost:
        logger.warning(
            f"Warning: {len(total.lost)} conjugates are missing, see {dataset.SKIPPED_FILE}."
        )
    remove_folder(directory / PROGRESS)
    return info


def _import_beam() -> ModuleType:
    try:
        from tfrecords.build import beam
    except ImportError as error:
        raise UsageError(
            f"--runner=beam needs Apache Beam (pip install 'aacf-tf[beam]'), received: {error}."
        ) from error
    return beam
