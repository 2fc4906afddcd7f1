"""Describes a build and estimates its time and bytes: decodes a few rows, writes none."""

from __future__ import annotations

import shutil
import time
from typing import Iterable, Iterator, NamedTuple, Optional

import numpy as np

from tfrecords.build.shards import Outcome, Shard, outcome, prepare_process
from tfrecords.sources import Source
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.filesystem import RemotePath, to_path

SAMPLE = 3  # readable rows to decode, spread over the input
STEPS = 3  # up to 3, 9, 27 rows are tried: in a part of a data set most files may be missing


class Tried(NamedTuple):
    """Rows that were tried: index -> record, or the reason why there is none; seconds each."""

    outcomes: dict[int, Outcome]
    seconds: float


def describe(
    source: Source,
    shards: list[Shard],
    quality: int,
    workers: int,
    output: Optional[StrPath] = None,
    tried: Optional[Tried] = None,
) -> str:
    """Counts rows, classes and conjugates to seek; estimates time and bytes from a sample.

    Args:
        source: The source of the rows.
        shards: All shards of the build.
        quality: JPEG quality of the frames.
        workers: Rows decoded at a time.
        output: Directory that the build would write, to see whether the result fits.
        tried: Rows to estimate from; None (default): `SAMPLE` readable ones.
    """
    rows = source.rows()
    sought = sum(map(source.wants_conjugate, rows))
    lines = [
        f"Dry run, nothing is written: {len(rows)} rows, {len(source.labels)} classes, conjugates "
        f"sought for {sought} ({source.conjugate})"
    ]
    splits: dict[str, list[int]] = {}
    for shard in shards:
        counts = splits.setdefault(shard.split, [0, 0])
        counts[0] += len(shard.rows)
        counts[1] += 1
    lines += [f"  {name:<12} {n:>8} rows {m:>5} shards" for name, (n, m) in splits.items()]
    outcomes, seconds = tried or try_rows(source, _spread(len(rows)), quality, SAMPLE)
    records = [record for record in outcomes.values() if not isinstance(record, str)]
    bad = [(rows[n].media, why) for n, why in outcomes.items() if isinstance(why, str)]
    lines += [f"  {media} cannot be read: {reason}" for media, reason in bad[:SAMPLE]]
    if len(bad) > SAMPLE:
        lines.append(f"  ... nor can {len(bad) - SAMPLE} more of those tried")
    if not records:
        return "\n".join([*lines, f"  None of the {len(outcomes)} rows tried can be read."])
    size = sum(len(record.data) for record in records) / len(outcomes)
    paired = sum(record.paired for record in records)
    lines.append(
        f"  {len(outcomes)} rows tried: {len(records)} readable, {paired} with a conjugate, "
        f"{in_bytes(size)} and {seconds:.2g} s each"
    )
    total = size * len(rows)
    lines.append(
        f"  about {in_bytes(total)} and {in_time(seconds * len(rows) / workers)} on {workers} cores"
    )
    free = _free_bytes(output)
    if free is not None and free < 1.1 * total:
        lines.append(f"  Warning: only {in_bytes(free)} are free where {output} lies.")
    return "\n".join(lines)


def try_rows(
    source: Source, indices: Iterable[int], quality: int, enough: Optional[int] = None
) -> Tried:
    """Makes the records of some rows.

    Args:
        source: The source of the rows.
        indices: Their indices.
        quality: JPEG quality of the frames.
        enough: Readable rows to stop at; None (default): all are tried.
    """
    from tfrecords.records import codec  # noqa: F401  (brings TensorFlow: seconds, but once a build)

    prepare_process()
    if source.eraser:  # the first hole loads a network, once a build
        hole = np.zeros((64, 64), bool)
        hole[16:48, 16:48] = True
        source.eraser.erase(np.zeros((64, 64, 3), np.uint8), hole)
    start, busy = time.perf_counter(), time.process_time()
    rows, outcomes, readable = source.rows(), {}, 0
    for n in indices:
        outcomes[n] = outcome(source, rows[n], quality)
        readable += not isinstance(outcomes[n], str)
        if readable == enough:
            break
    # A network fills a hole on all cores at once, so that the rows share the processor time.
    seconds = max(time.perf_counter() - start, time.process_time() - busy) / len(outcomes)
    return Tried(outcomes, seconds)


def _spread(count: int) -> Iterator[int]:
    """Yields indices of 0..count - 1, each once: the middles of ever smaller equal parts."""
    seen: set[int] = set()
    for step in range(1, STEPS + 1):
        parts = SAMPLE**step
        for n in range(parts):
            index = (2 * n + 1) * count // (2 * parts)
            if index not in seen:
                seen.add(index)
                yield index


def in_bytes(size: float) -> str:
    """Formats a size: 1234567 -> "1.23 MB"."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= length:
            return f"{size / length:.3g} {unit}"
    return f"{size:.0f} bytes"


def in_time(seconds: float) -> str:
    """Formats a duration: 8000 -> "2.2 hours"."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} s"


def _free_bytes(output: Optional[StrPath]) -> Optional[int]:
    """Returns the free bytes on the disk of a folder, existing or not; None: unknown."""
    path = to_path(output) if output else None
    if path is None or isinstance(path, RemotePath):
        return None
    folders = (path.absolute(), *path.absolute().parents)
    return shutil.disk_usage(next(folder for folder in folders if folder.exists())).free
