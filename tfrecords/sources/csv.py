"""Reads a table of videos, one clip a row, or with `--stills` of photographs.

    video,label                                  required
    start,end                                    seconds, mm:ss or hh:mm:ss.s; empty: the whole file
    split                                        [a-z0-9_]+, default train
    conjugate_video,conjugate_start,conjugate_end
                                                 the same scene without the action; with a start or
                                                 an end and no video: in the clip's own video
    mask                                         where the actor is: see `masks.read_mask`
    group                                        with `--make_splits`: what stays in one split

A folder of frames stands for a video if `--frames_fps` says its rate.
How names of columns are matched is told in `table`. Several labels in one cell are separated by
`|`; an empty label is a clip with no action. Paths are relative to the table and stay in its
folder, links included; `--data_root` names another folder for them (a path not found there is
sought from the table's folder, if that lies within it). A URL of `filesystem.SCHEMES` stands for
itself.
"""

from __future__ import annotations

import math
import os
from typing import NoReturn, Optional

from tfrecords.media.frames import FrameFolder
from tfrecords.records.dataset import SPLIT_NAME, load_labels
from tfrecords.sources.base import Row, SourceOptions
from tfrecords.sources.table import TableReader, normalize_label, parse_seconds
from tfrecords.sources.videos import EXTENSIONS, VideoSource
from tfrecords.utils import filesystem
from tfrecords.utils.errors import UsageError
from tfrecords.utils.paths import is_inside, similar, target_outside

CONJUGATE = ("conjugate_video", "conjugate_start", "conjugate_end")
OPTIONAL = ("start", "end", "split", *CONJUGATE, "mask")


class CsvSource(VideoSource):
    """The source `csv`; `options.input` is the table."""

    name = "csv"
    takes_stills = True

    def __init__(self, options: SourceOptions):
        if not options.input:
            raise UsageError("Expected --input to name a csv file, received none.")
        table = Table(options.input, options)
        has_conjugates = any(row.conjugate_media for row in table.rows)
        default = "given" if has_conjugates else "before_after"
        conjugate = options.conjugate or ("remove_person" if options.stills else default)
        if conjugate == "given" and not has_conjugates:
            table.fail(
                "expected a column conjugate_video for --conjugate=given, received none or an "
                "empty one"
            )
        unknown = options.people == "none" and not any(row.mask for row in table.rows)
        if conjugate == "remove_person" and unknown:
            table.fail(
                "expected a column mask, or --people, for --conjugate=remove_person, received none "
                "or an empty one"
            )
        given = f"the column split of {options.input}" if table.has_splits else ""
        super().__init__(options, table.rows, table.paths, table.labels, conjugate, given)
        self.remarks = (*table.remarks, *self.remarks, *self.missing())


class Table:
    """The rows of a csv file, checked.

    Attributes:
        rows: Its rows.
        paths: Path of every file that the rows name.
        labels: Class names: `options.labels`, or the sorted union over all rows.
        remarks: Sentences for the user, see `TableReader`.
        has_splits: Whether a row names its split.

    Raises:
        UsageError: If the table is missing or empty, or a cell is not what its column says.
    """

    def __init__(self, path: str, options: SourceOptions):
        self._path = path
        self._options = options
        self._line = 0
        self._seen: set[str] = set()
        self.paths: dict[str, str] = {}
        self.has_splits = False
        grouped = options.make_splits or options.near_duplicates == "name"
        columns = (*OPTIONAL, "group") if grouped else OPTIONAL
        self._table = TableReader(path, ("video", "label"), columns, options.encoding)
        self.rows = [self._row(cells, line) for line, cells in self._table]
        self.remarks = self._table.remarks
        self._line = 0
        if not self.rows:
            self.fail("expected at least one row below the header, received none")
        self.labels = self._labels()

    def fail(self, message: str) -> NoReturn:
        """Raises a UsageError that names the table and the line being read."""
        self._table.fail(message, self._line)

    def _row(self, cells: dict, line: int) -> Row:
        self._line = line
        if not cells["video"]:
            self.fail("expected a path in the column video, received none")
        media = self._media(cells["video"])
        start, end = self._span(cells, "start", "end")
        self.has_splits = self.has_splits or bool(cells.get("split"))
        split = cells.get("split") or "train"
        if not SPLIT_NAME.fullmatch(split):
            self.fail(f"expected a split of the letters a-z, 0-9 and _, received {split!r}")
        names = map(normalize_label, cells["label"].split("|"))
        labels = tuple(dict.fromkeys(filter(None, names)))
        for label in labels:
            if len(label.splitlines()) > 1:
                self.fail(f"expected a label on one line, received {label!r}")
        if len(labels) > 1 and not self._options.multi_label:
            self.fail(f"expected one label (several need --multi_label), received {len(labels)}")
        conjugate = None
        conjugate_start, conjugate_end = self._span(cells, "conjugate_start", "conjugate_end")
        if cells.get("conjugate_video"):
            conjugate = self._media(cells["conjugate_video"])
        elif cells.get("conjugate_start") or cells.get("conjugate_end"):
            conjugate = media
        return Row(
            split=split,
            id=self._id(media, cells, start, end),
            labels=labels,
            media=media,
            start=start,
            end=end,
            conjugate_media=conjugate,
            conjugate_start=conjugate_start,
            conjugate_end=conjugate_end,
            mask=self._media(cells["mask"]) if cells.get("mask") else None,
            line=line,
            group=cells.get("group", ""),
        )

    def _span(self, cells: dict[str, str], first: str, last: str) -> tuple[float, Optional[float]]:
        start = self._seconds(cells, first) or 0.0
        end = self._seconds(cells, last)
        if end is not None and end <= start:
            self.fail(f"expected {first} before {last}, received {start:g} and {end:g}")
        return start, end

    def _seconds(self, cells: dict[str, str], name: str) -> Optional[float]:
        text = cells.get(name)
        if not text:
            return None
        value = parse_seconds(text, self._table.decimal_comma)
        if not (math.isfinite(value) and value >= 0):
            self.fail(
                f"expected seconds from 0, mm:ss or hh:mm:ss.s in the column {name}, received "
                f"{text!r}"
            )
        return value

    def _id(self, media: str, cells: dict[str, str], start: float, end: Optional[float]) -> str:
        """Returns the file and, if given, the span; a second row of the same adds its line."""
        name = media
        if cells.get("start") or cells.get("end"):
            name += f"@{start:.3f}-" + ("" if end is None else f"{end:.3f}")
        if name in self._seen:
            name += f"#{self._line}"
        self._seen.add(name)
        return name

    def _media(self, text: str) -> str:
        """Notes the file of a path as the table writes it; returns the name it is known by."""
        if filesystem.is_remote(text):
            self.paths[text] = text
            return text
        if "://" in text:
            schemes = ", ".join(filesystem.SCHEMES)
            self.fail(f"expected a path or one that begins with {schemes}, received {text}")
        folder = os.path.dirname(filesystem.absolute(self._path))
        root = filesystem.absolute(self._options.data_root or folder)
        choices = [filesystem.join(base, text) for base in (root, folder)]
        inside = [path for path in choices if is_inside(path, root)]
        if not inside:
            meant = similar(filesystem.join(root, text.lstrip("/\\")), EXTENSIONS)
            hint = f" (did you mean {os.path.relpath(meant, root)}?)" if meant else ""
            self.fail(
                f"expected a path inside {root} (--data_root names another), received {text}{hint}"
            )
        path = next(filter(os.path.exists, inside), inside[0])
        # Records carry no absolute paths: they must be the same on every machine.
        name = os.path.relpath(path, root).replace(os.sep, "/")
        if name not in self.paths and not filesystem.is_remote(path):
            target = target_outside(path, root)
            if target:
                self.fail(
                    f"expected a path inside {root} (--data_root names another), received {text}, "
                    f"a link to {target}"
                )
            if os.path.isdir(path):
                if not self._options.frames_fps:
                    self.fail(
                        f"expected a file, or --frames_fps for a folder of frames, received {text}"
                    )
                path = FrameFolder(path, self._options.frames_fps)
        self.paths.setdefault(name, path)
        return name

    def _labels(self) -> list[str]:
        used = {label: row.line for row in reversed(self.rows) for label in row.labels}
        if not used:
            self.fail("expected a label in at least one row, received none")
        if not self._options.labels:
            return sorted(used)
        labels = [normalize_label(label) for label in load_labels(self._options.labels)]
        for label, line in sorted(used.items(), key=lambda item: item[1]):
            if label not in labels:
                self._line = line
                self.fail(f"expected a label of {self._options.labels}, received {label!r}")
        return labels
