"""HACS: 200 actions on YouTube, clips of two seconds judged by people, or whole segments.

    HACS_clips_v1.1.1.csv      classname,youtube_id,subset,start,end,label; label 1: the action is
                               there, -1: it is not, though a classifier took it for the action
    HACS_segments_v1.1.1.json  {"database": {ID: {"subset": ..., "annotations": [{"label": ...,
                               "segment": [start, end]}]}}}: every span of the action, no negatives
    ROOT/Class_name/v_ID.mp4   as HACS's own script saves videos

`--input` is one of the two files, or a folder with one of them (of both: the clips) in itself or in
its folder `HACS_v...`; ROOT is `--data_root`, else that folder. Any layout below ROOT will do: a
file is known by its name, `v_ID` or `ID`, with any usual extension.

H. Zhao, A. Torralba, L. Torresani, Z. Yan: HACS, ICCV 2019. `training` is written as `train`,
`validation` as `test`; the labels of `testing` are withheld. 16 frames/s, as the paper's supplement
has it: 32 a clip.

Conjugates. A negative of the same class from the same video, the nearest in time, is the same scene
without the action. Where the video has none, one of another video of the class and split serves:
negatives are what classifiers mistook for the action, so it is the same kind of scene (which does
no harm where a scene at random does: docs/method.md). Segments have no negatives, but what lies
between them is free of their action: there the default is `before_after`.
"""

from __future__ import annotations

import glob
import os
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Iterable, Optional

from tfrecords.records.dataset import load_labels
from tfrecords.sources.base import Row, SourceOptions, with_removal
from tfrecords.sources.published.hacs_tables import Entry, read_clips, read_segments
from tfrecords.sources.published.layout import (
    check_links,
    fail,
    ordered_labels,
    require_local,
    videos_by_stem,
)
from tfrecords.sources.published.negatives import NegativeSource, draw
from tfrecords.utils.errors import UsageError

FPS = 16.0
CONJUGATES = ("negative_clip", "before_after", "frozen_frame", "auto", "none")


class HacsSource(NegativeSource):
    """The source `hacs`; `options.input` is the file of annotations, or its folder."""

    name = "hacs"
    takes_classes = True

    def __init__(self, options: SourceOptions):
        table, root = _places(options)
        segments = table.endswith(".json")
        entries = read_segments(table) if segments else read_clips(table, options.encoding)
        conjugate = options.conjugate or ("before_after" if segments else "negative_clip")
        allowed = with_removal(CONJUGATES[1:] if segments else CONJUGATES, options)
        if conjugate not in allowed:
            fail(table, f"expected --conjugate={', '.join(allowed)}, received {conjugate}")
        if options.classes:
            chosen = _chosen(options.classes, {entry.label for entry in entries}, table)
            entries = [entry for entry in entries if entry.label in chosen]
        labels = ordered_labels(options, {entry.label for entry in entries})
        files = _files(entries, root)
        rows, self.remarks = _rows(entries, files, root, conjugate in ("negative_clip", "auto"))
        check_links(root, (name for name, on_disk in files.values() if on_disk))
        paths = {name: os.path.join(root, name) for name, _ in files.values()}
        options = replace(options, fps=options.fps or FPS)
        super().__init__(options, rows, paths, labels, conjugate)


def _places(options: SourceOptions) -> tuple[str, str]:
    """Returns (file of annotations, folder of the videos)."""
    expected = "HACS_clips_v1.1.1.csv, HACS_segments_v1.1.1.json or the folder of one of them"
    given = require_local(options.input, "--input", expected)
    root = options.data_root or (os.path.dirname(given) or "." if os.path.isfile(given) else given)
    if not os.path.isdir(require_local(root, "--data_root", "the folder of the videos")):
        raise UsageError(f"Expected a folder of videos at {root}, received no such folder.")
    if os.path.isfile(given):
        return given, root
    for name in ("HACS_clips*.csv", "HACS_segments*.json"):
        # A folder's name may hold what a pattern would read.
        folder = glob.escape(given)
        tables = [
            *glob.glob(os.path.join(folder, name)),
            *glob.glob(os.path.join(folder, "HACS_v*", name)),
        ]
        if len(tables) > 1:
            raise UsageError(f"Expected --input to name one of {', '.join(sorted(tables))}.")
        if tables:
            return tables[0], root
    raise UsageError(f"Expected --input to name {expected}, received {given}.")


def _chosen(classes: str, known: set[str], table: str) -> set[str]:
    """Reads `--classes`: a file with one a line, or a,b,c; _ may stand for a space."""
    names = load_labels(classes) if os.path.isfile(classes) else classes.split(",")
    spelling = {name.replace("_", " ").lower(): name for name in sorted(known)}
    chosen = set()
    for name in names:
        key = name.strip().replace("_", " ").lower()
        if key not in spelling:
            raise UsageError(
                f"Expected --classes to name classes of the {len(known)} in {table} or a file of "
                f"them, received {name.strip()!r}."
            )
        chosen.add(spelling[key])
    return chosen


def _files(entries: Iterable[Entry], root: str) -> dict[str, tuple[str, bool]]:
    """Maps videos to (path below root, whether it exists); else the downloader's name."""
    by_stem = videos_by_stem(root)
    files = {}
    for entry in entries:
        if entry.video not in files:
            path = by_stem.get(f"v_{entry.video}") or by_stem.get(entry.video)
            usual = f"{entry.label.replace(' ', '_')}/v_{entry.video}.mp4"
            files[entry.video] = (path or usual, bool(path))
    return files


def _rows(
    entries: list[Entry], files: dict[str, tuple[str, bool]], root: str, paired: bool
) -> tuple[list[Row], tuple[str, ...]]:
    """Returns (rows in the order of the file, remarks on them for the user)."""
    kept = _without_contradictions(entries)
    counts = Counter(contradictory=len(entries) - len(kept))
    negatives = Negatives(entry for entry in kept if not entry.positive and files[entry.video][1])
    rows, seen = [], set()
    for entry in kept:
        media, on_disk = files[entry.video]
        name = f"{entry.video}@{entry.start:.3f}-{entry.end:.3f}"
        if name in seen and not entry.positive:
            continue  # judged for two classes and none of them: one clip of no action
        if name in seen:
            name += f"#{entry.line}"
        seen.add(name)
        partner = None
        if entry.positive and paired:
            partner, origin = negatives.of(entry)
            counts[origin] += on_disk
        rows.append(
            Row(
                split=entry.split,
                id=name,
                labels=(entry.label,) if entry.positive else (),
                media=media,
                start=entry.start,
                end=entry.end,
                conjugate_media=files[partner.video][0] if partner else None,
                conjugate_start=partner.start if partner else 0.0,
                conjugate_end=partner.end if partner else None,
                line=entry.line,
            )
        )
    return rows, tuple(_remarks(counts, files, root, paired))


def _without_contradictions(entries: list[Entry]) -> list[Entry]:
    """Drops the negatives of one class that overlap another one's action."""
    actions = defaultdict(list)
    for entry in entries:
        if entry.positive:
            actions[entry.video].append((entry.start, entry.end))
    return [
        entry
        for entry in entries
        if entry.positive
        or all(end <= entry.start or entry.end <= start for start, end in actions[entry.video])
    ]


class Negatives:
    """The negatives that may serve as conjugates."""

    def __init__(self, entries: Iterable[Entry]):
        self._by_class = defaultdict(list)
        self._by_video = defaultdict(list)
        for entry in entries:
            self._by_class[entry.split, entry.label].append(entry)
            self._by_video[entry.split, entry.label, entry.video].append(entry)

    def of(self, entry: Entry) -> tuple[Optional[Entry], str]:
        """Returns (the negative of a clip, its origin: "same", "other" video or "none")."""
        same = self._by_video.get((entry.split, entry.label, entry.video))
        if same:
            return min(same, key=lambda other: abs(other.start - entry.start)), "same"
        others = self._by_class.get((entry.split, entry.label))
        if not others:
            return None, "none"
        return draw(f"{entry.video} {entry.start:.3f}", others), "other"


def _remarks(counts: Counter, files: dict, root: str, paired: bool) -> Iterable[str]:
    missing = sum(not on_disk for _, on_disk in files.values())
    if missing:
        yield (
            f"{missing} of {len(files)} videos are not below {root}; skipped.csv names their clips."
        )
    if paired:
        yield (
            f"Of the clips on disk, {counts['same']} have a negative of the same video, "
            f"{counts['other']} of another video of the class, {counts['none']} have none."
        )
    if counts["contradictory"]:
        yield f"{counts['contradictory']} negatives overlap an action of their video: left out."
