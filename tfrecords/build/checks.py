"""Checks the options of a build and the rows of its source, before anything is decoded."""

from __future__ import annotations

import logging
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Optional

from tfrecords.records import dataset
from tfrecords.sources import Row, Source, SourceOptions, open_source
from tfrecords.sources.splitting.assign import divided_groups
from tfrecords.utils import filesystem
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UsageError

logger = logging.getLogger(__name__)

REMOTE_SOURCES = ("csv",)  # whose input may be remote
SHOWN = 3  # examples named
LIMITS = {
    "margin": (0, None),
    "quality": (1, 100),
    "num_shards": (0, dataset.MAX_SHARDS),
    "workers": (0, 1024),
    "stills": (0, 1000),
    "fps": (0.1, 1000),
    "frames_fps": (0.1, 1000),
    "short_side": (0, None),
}


def open_checked(
    options: SourceOptions,
    output: Optional[StrPath],
    source: str,
    quality: int,
    num_shards: int,
    workers: int,
) -> Source:
    """Opens a source and logs what a user should know about it before it is built.

    Arguments and errors: see `open_valid`.
    """
    opened = open_valid(options, output, source, quality, num_shards, workers)
    for remark in remarks(opened, options):
        logger.warning(remark)
    return opened


def open_valid(
    options: SourceOptions,
    output: Optional[StrPath],
    source: str,
    quality: int,
    num_shards: int,
    workers: int,
) -> Source:
    """Opens a source; arguments are those of `build_dataset`.

    Raises:
        UsageError: A path or number is one that no build can use.
    """
    values = {**vars(options), "output": output}
    for name in ("input", "output", "labels", "data_root", "filler"):
        text = str(values[name] or "")
        if "://" not in text:
            continue
        if not filesystem.is_remote(text):
            schemes = ", ".join(filesystem.SCHEMES)
            raise UsageError(f"Expected --{name} to begin with {schemes}, received {text}.")
        if name == "output" and text.startswith(filesystem.READ_ONLY):
            raise UsageError(f"Expected --output where files can be written, received {text}.")
        if name == "filler" and text.startswith(filesystem.READ_ONLY):
            raise UsageError(f"Expected --filler where folders can be listed, received {text}.")
        if name in ("input", "data_root") and source not in REMOTE_SOURCES:
            raise UsageError(
                f"Expected --{name} on this machine for --source={source} (remote: "
                f"{', '.join(REMOTE_SOURCES)}), received {text}."
            )
    values.update(quality=quality, num_shards=num_shards, workers=workers)
    for name, (low, high) in LIMITS.items():
        received = values[name]
        highest = sys.float_info.max if high is None else high
        if received is not None and not low <= received <= highest:
            expected = f"at least {low}" if high is None else f"{low} to {high}"
            raise UsageError(f"Expected --{name} of {expected}, received {received}.")
    return open_source(source, options)


def remarks(source: Source, options: SourceOptions) -> list[str]:
    """Returns what a user should know about a source before it is built, in sentences."""
    odd = [*warnings(source), *overlaps(source), *class_warnings(source)]
    if (options.near_duplicates or (options.make_splits and "name")) in ("name", "apart"):
        odd += [*divided(source, options.group_pattern), *near_duplicates(source)]
    return [*source.remarks, *odd]


def warnings(source: Source) -> list[str]:
    """Returns a sentence each for repeated spans and for videos that are in several splits."""
    sentences, rows = [], source.rows()
    twice = duplicates(rows) if source.one_record_a_span else []
    if twice:
        examples = [f"{_span(row)} ({_line(first)} and {_line(row)})" for first, row in twice]
        what = "span stands" if len(twice) == 1 else "spans stand"
        sentences.append(f"Warning: {len(twice)} {what} twice in the input: {_some(examples)}.")
    shared = leaks(rows, source.conjugate in ("given", "negative_clip", "auto"))
    if shared:
        examples = [f"{media} ({', '.join(splits)})" for media, splits in shared.items()]
        what = "source video stands" if len(shared) == 1 else "source videos stand"
        sentences.append(
            f"Warning: {len(shared)} {what} in several splits, so that a test may see what was "
            f"trained on: {_some(examples)}."
        )
    return sentences


def class_warnings(source: Source) -> list[str]:
    """Returns what is suspicious about the classes and splits of the rows."""
    counts: dict[str, Counter] = {}
    for row in source.rows():
        counts.setdefault(row.split, Counter()).update(row.labels)
    return dataset.class_warnings(source.labels, counts)


def overlaps(source: Source) -> list[str]:
    """Returns a warning for every given conjugate that shows an annotated action of its video."""
    actions: dict[str, list[Row]] = {}
    rows = source.rows() if source.conjugate in ("given", "auto") else []
    for row in rows:
        if row.labels:
            actions.setdefault(row.media, []).append(row)
    sentences = []
    for row in rows:
        start, end = row.conjugate_start, row.conjugate_end
        for action in actions.get(row.conjugate_media or "", ()):
            ends = math.inf if action.end is None else action.end
            if row.labels and action.start < (math.inf if end is None else end) and start < ends:
                sentences.append(
                    f"Warning: the conjugate of {_line(row)} shows the action of {_line(action)}, "
                    f"{', '.join(action.labels)} in {_span(action)}."
                )
                break
    more = len(sentences) - SHOWN
    return sentences[:SHOWN] + (
        [f"Warning: {more} more conjugates show an action."] if more > 0 else []
    )


def divided(source: Source, pattern: Optional[str]) -> list[str]:
    """Returns a sentence on groups of several files that are in several splits, if any."""
    groups = divided_groups(source.rows(), pattern)
    if not groups:
        return []
    examples = [f"{name} ({', '.join(splits)})" for name, splits in groups.items()]
    what = "group stands" if len(groups) == 1 else "groups stand"
    return [
        f"Warning: {len(groups)} {what} in several splits, so that a test may see what was trained "
        f"on; by its first file: {_some(examples)}."
    ]


def near_duplicates(source: Source) -> list[str]:
    """Returns a sentence on clips of different splits that look alike, if any."""
    pairs = source.alike()
    if not pairs:
        return []
    examples = [f"{a.media} ({a.split}) and {b.media} ({b.split})" for a, b in pairs]
    return [
        f"Warning: {len(pairs)} pairs of clips of different splits look alike, so that a test may "
        f"see what was trained on: {_some(examples)}. With --make_splits, --near_duplicates=apart "
        "keeps such clips in one split."
    ]


def duplicates(rows: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Returns (first, later) of the rows that name the same span of a file, in any split."""
    seen: dict[tuple, Row] = {}
    repeated = []
    for row in rows:
        first = seen.setdefault((row.media, row.start, row.end), row)
        if first is not row:
            repeated.append((first, row))
    return repeated


def leaks(rows: Iterable[Row], conjugates: bool = False) -> dict[str, list[str]]:
    """Returns the splits of each file that is in several; `conjugates`: they count as well."""
    splits: dict[str, dict[str, None]] = {}
    for row in rows:
        splits.setdefault(row.media, {})[row.split] = None
        if conjugates and row.conjugate_media:
            splits.setdefault(row.conjugate_media, {})[row.split] = None
    return {media: list(names) for media, names in splits.items() if len(names) > 1}


def _some(examples: Sequence[str]) -> str:
    more = len(examples) - SHOWN
    return "; ".join(examples[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _span(row: Row) -> str:
    if row.end is None:
        return row.media if not row.start else f"{row.media} from {row.start:g} s"
    return f"{row.media} {row.start:g}-{row.end:g} s"


def _line(row: Row) -> str:
    return f"line {row.line}" if row.line else row.id
