"""Makes the splits train, validation and test of rows: grouped, stratified, always the same.

A group goes to one split as a whole: the clips of one file (conjugates included), of one value of
the column `group`, of one match of `--group_pattern`, and, on request, clips that look alike. Rare
classes are dealt out first, and each group of a class to the split that still lacks most of it; a
class of few groups has one in each split before it has two in one. Nothing but names, groups and
labels decides, so that the splits do not depend on the order of the rows, the machine or the run.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import unicodedata
from collections import Counter
from dataclasses import replace
from typing import Iterable, Mapping, Optional, Sequence

from tfrecords.media import video
from tfrecords.sources.base import Row, SourceOptions
from tfrecords.utils.errors import UsageError

SPLITS = ("train", "validation", "test")
OVERWRITE = "overwrite"


def parse_shares(text: str) -> tuple[tuple[float, ...], bool]:
    """Parses `--make_splits` to (shares that add up to 1, whether splits may be overwritten).

    Raises:
        UsageError: It is not three shares in percent, with or without ",overwrite".
    """
    *numbers, last = text.split(",") if text.endswith(f",{OVERWRITE}") else [*text.split(","), ""]
    try:
        shares = [float(number) for number in numbers]
    except ValueError:
        shares = []
    total = sum(shares)
    whole = any(abs(total - sum_of_all) < 1e-6 for sum_of_all in (1, 100))
    if len(shares) != len(SPLITS) or not whole or not all(share >= 0 for share in shares):
        raise UsageError(
            "Expected --make_splits as the shares of train, validation and test in percent, such "
            f"as 70,15,15 or 70,15,15,{OVERWRITE}, received {text!r}."
        )
    return tuple(share / total for share in shares), last == OVERWRITE


def make_splits(
    rows: Sequence[Row],
    options: SourceOptions,
    given: str,
    alike: Iterable[tuple[str, str]] = (),
) -> tuple[list[Row], str]:
    """Returns the rows in splits as `options.make_splits` wants them, and a sentence on them.

    Args:
        rows: Rows of the input.
        options: Options of the source.
        given: What names the splits of the input, for the message; "": nothing does.
        alike: Pairs of files that stay in one split.

    Raises:
        UsageError: The options are wrong, or would overwrite splits unasked.
    """
    text = options.make_splits or ""
    shares, overwrite = parse_shares(text)
    if given and not overwrite:
        raise UsageError(
            f"Expected no --make_splits, since {given} names the splits already; "
            f"--make_splits={text},{OVERWRITE} makes new ones."
        )
    found = [_found(options.group_pattern, row.media) for row in rows]
    if options.group_pattern and not any(found):
        raise UsageError(
            f"Expected --group_pattern to be found in the path of a file, received "
            f"{options.group_pattern!r}, which is not in {rows[0].media} nor in any other."
        )
    names = _group_names(rows, found, alike)
    counts: dict[str, Counter] = {}
    for row, name in zip(rows, names):
        counts.setdefault(name, Counter()).update(row.labels or ("",))
    chosen = assign(counts, shares)
    rows = [replace(row, split=chosen[name]) for row, name in zip(rows, names)]
    return rows, _describe(text, rows, names, found)


def assign(groups: Mapping[str, Mapping[str, int]], shares: Sequence[float]) -> dict[str, str]:
    """Assigns groups to splits.

    Args:
        groups: Name of a group -> label ("": no action) -> clips.
        shares: Shares of `SPLITS`, which add up to 1.

    Returns:
        Name of a group -> split.
    """
    totals: Counter = Counter()
    members: dict[str, list[str]] = {}
    for name in sorted(groups, key=_digest):
        totals.update(groups[name])
        for label in groups[name]:
            members.setdefault(label, []).append(name)
    used = [n for n, share in enumerate(shares) if share > 0]
    lacking = [{label: share * count for label, count in totals.items()} for share in shares]
    room = [share * sum(totals.values()) for share in shares]
    held = [Counter() for _ in shares]
    waiting = Counter(totals)  # clips by label
    chosen: dict[str, str] = {}
    while waiting:
        label = min(waiting, key=lambda name: (not name, waiting[name], name))
        left = [name for name in members[label] if name not in chosen]
        left.sort(key=lambda name: -groups[name][label])  # stable: equals stay as they were
        for number, name in enumerate(left):
            empty = [n for n in used if not held[n][label]]
            choices = empty if len(left) - number <= len(empty) else used
            split = max(choices, key=lambda n: (_exact(lacking[n][label]), _exact(room[n]), -n))
            chosen[name] = SPLITS[split]
            for other, count in groups[name].items():
                lacking[split][other] -= count
                room[split] -= count
                held[split][other] += 1
                waiting[other] -= count
        del waiting[label]
        waiting = Counter({name: count for name, count in waiting.items() if count > 0})
    return chosen


def divided_groups(rows: Sequence[Row], pattern: Optional[str]) -> dict[str, list[str]]:
    """Returns the splits of each group of several files that is in several, by its first file."""
    names = _group_names(rows, [_found(pattern, row.media) for row in rows], ())
    splits: dict[str, dict[str, None]] = {}
    files: dict[str, set[str]] = {}
    for row, name in zip(rows, names):
        splits.setdefault(name, {})[row.split] = None
        files.setdefault(name, set()).add(row.media)
    return {name: list(of) for name, of in splits.items() if len(of) > 1 < len(files[name])}


def _found(pattern: Optional[str], media: str) -> str:
    """Returns the first group of a pattern in a path; "": it is not there."""
    if not pattern:
        return ""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"Expected --group_pattern as a regular expression, received {pattern!r}: {error}."
        ) from error
    if not compiled.groups:
        raise UsageError(
            "Expected --group_pattern with a group in brackets, such as '(.+_g[0-9]+)_', received "
            f"{pattern!r}."
        )
    match = compiled.search(media)
    return (match and match[1]) or ""


def _group_names(
    rows: Sequence[Row], found: Sequence[str], alike: Iterable[tuple[str, str]]
) -> list[str]:
    """Returns the name of each row's group: its first file in the order of `_bare`."""
    parents: dict[tuple[str, str], tuple[str, str]] = {}

    def root(key: tuple[str, str]) -> tuple[str, str]:
        while parents.setdefault(key, key) != key:
            parents[key] = key = parents[parents[key]]
        return key

    def join(one: tuple[str, str], other: tuple[str, str]) -> None:
        parents[root(one)] = root(other)

    for row, match in zip(rows, found):
        for kind, name in (("file", row.conjugate_media), ("group", row.group), ("match", match)):
            if name:
                join(("file", row.media), (kind, name))
    for one, other in alike:
        join(("file", one), ("file", other))
    first: dict[tuple[str, str], str] = {}
    roots = [root(("file", row.media)) for row in rows]
    for row, key in zip(rows, roots):
        first[key] = min(first.get(key, row.media), row.media, key=_bare)
    return [first[key] for key in roots]


def _describe(text: str, rows: Sequence[Row], names: Sequence[str], found: Sequence[str]) -> str:
    """Returns what was done, as a sentence."""
    clips = Counter(row.split for row in rows)
    parts = ", ".join(
        f"{split} {clips[split]} clips ({clips[split] / len(rows):.1%})" for split in SPLITS
    )
    sizes, files = Counter(names), Counter(row.media for row in rows)
    alone = sum(
        sizes[name] == 1 and files[row.media] == 1 and not row.group and not match
        for row, name, match in zip(rows, names, found)
    )
    said = f"--make_splits={text}: {parts}, in {len(sizes)} groups none of which is divided."
    unmatched = len(found) - sum(map(bool, found))
    if any(found) and unmatched:
        said += f" In {unmatched} clips --group_pattern is not found."
    if alone:
        said += (
            f" {alone} clips have a file to themselves and no group: each is its own. If several "
            "are cut from one video, a column group or --group_pattern keeps them together."
        )
    return said


def _exact(number: float) -> float:
    """Rounds a number whose last bits depend on the order of a sum."""
    return math.floor(number * 1e6 + 0.5)


def _bare(media: str) -> tuple[str, str]:
    """Returns the name of a file without folder and extension, and all of it.

    The same clips in other folders, as frames or in another container are then divided alike.
    """
    stem, extension = os.path.splitext(os.path.basename(media))
    known = extension.lower() in video.EXTENSIONS
    return unicodedata.normalize("NFC", stem if known else stem + extension), media


def _digest(media: str) -> tuple[str, str]:
    stem, _ = _bare(media)
    return hashlib.sha256(stem.encode("utf-8", "surrogateescape")).hexdigest(), media
