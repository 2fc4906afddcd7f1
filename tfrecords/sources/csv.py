"""A table of videos: one clip a row; or, with `--stills`, of photographs.

    video,label                                  required
    start,end                                    seconds; empty: the whole file
    split                                        [a-z0-9_]+, default train
    conjugate_video,conjugate_start,conjugate_end
                                                 the same scene without the action; with a start or
                                                 an end and no video: in the clip's own video
    mask                                         where the actor is: see `masks.read_mask`

Other columns are ignored. Several labels in one cell are separated by `|`; an empty label is a clip
with no action. Paths are relative to the table and stay in its folder; `--data_root` names another
folder for them (a path not found there is sought from the table's folder, if that lies within it).
A URL of `filesystem.SCHEMES` stands for itself.
"""

from __future__ import annotations

import csv
import io
import math
import os
from typing import Optional

from tfrecords.records.dataset import SPLIT_NAME, load_labels
from tfrecords.sources.base import Row, SourceOptions
from tfrecords.sources.videos import VideoSource
from tfrecords.utils import filesystem
from tfrecords.utils.errors import UsageError


class CsvSource(VideoSource):
    """The source `csv`; `options.input` is the table."""

    name = "csv"
    takes_stills = True

    def __init__(self, options: SourceOptions):
        if not options.input:
            raise UsageError("Expected --input to name a csv file, received none.")
        table = Table(options.input, options)
        has_conjugates = not {"conjugate_video", "conjugate_start"}.isdisjoint(table.columns)
        default = "given" if has_conjugates else "before_after"
        conjugate = options.conjugate or ("remove_person" if options.stills else default)
        if conjugate == "given" and not has_conjugates:
            table.fail("expected a column conjugate_video for --conjugate=given")
        if conjugate == "remove_person" and "mask" not in table.columns:
            table.fail("expected a column mask for --conjugate=remove_person")
        super().__init__(options, table.rows, table.paths, table.labels, conjugate)


class Table:
    """A csv file, read and checked.

    Attributes:
        columns: its header.
        rows: its rows.
        paths: file of every path that the rows name.
        labels: class names: `options.labels`, or the sorted union over all rows.

    Raises:
        UsageError: the table is missing, empty, or a cell is not what its column says.
    """

    def __init__(self, path: str, options: SourceOptions):
        self._path = path
        self._options = options
        self._line = 0
        self._seen: set[str] = set()
        self.paths: dict[str, str] = {}
        try:
            with io.TextIOWrapper(filesystem.open_file(path), "utf-8-sig", newline="") as file:
                reader = csv.DictReader(file, strict=True)
                self.columns = [name.strip() for name in reader.fieldnames or []]
                self._check_header()
                reader.fieldnames = self.columns
                self.rows = [self._row(cells, reader.line_num) for cells in reader]
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"Expected a csv file at {path}: {reason}.") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"Expected a csv file in UTF-8 at {path}: {error}.") from error
        self._line = 0
        if not self.rows:
            self.fail("expected at least one row below the header, received none")
        self.labels = self._labels()

    def fail(self, message: str) -> None:
        """Raises a UsageError that names the table and the line being read."""
        line = f", line {self._line}" if self._line else ""
        raise UsageError(f"{self._path}{line}: {message}.")

    def _check_header(self) -> None:
        for name in ("video", "label"):
            if name not in self.columns:
                found = ", ".join(self.columns) or "an empty file"
                self.fail(f"expected the columns video and label, received {found}")
        if len(set(self.columns)) < len(self.columns):
            self.fail("expected each column once, received one twice")

    def _row(self, cells: dict, line: int) -> Row:
        self._line = line
        cells = {name: (text or "").strip() for name, text in cells.items() if name}
        if not cells["video"]:
            self.fail("expected a path in the column video, received none")
        media = self._media(cells["video"])
        start, end = self._span(cells, "start", "end")
        split = cells.get("split") or "train"
        if not SPLIT_NAME.fullmatch(split):
            self.fail(f"expected a split of the letters a-z, 0-9 and _, received {split!r}")
        labels = tuple(dict.fromkeys(filter(None, map(str.strip, cells["label"].split("|")))))
        if len(labels) > 1 and not self._options.multi_label:
            self.fail(f"expected one label (several need --multi_label), received {len(labels)}")
        conjugate = None
        conjugate_start, conjugate_end = self._span(cells, "conjugate_start", "conjugate_end")
        if cells.get("conjugate_video"):
            conjugate = self._media(cells["conjugate_video"])
        elif conjugate_start or conjugate_end is not None:
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
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            self.fail(f"expected seconds from 0 in the column {name}, received {text!r}")
        return value

    def _id(self, media: str, cells: dict[str, str], start: float, end: Optional[float]) -> str:
        """The file, and the span where one is given; a second row of the same adds its line."""
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
        inside = [path for path in choices if path.startswith(os.path.join(root, ""))]
        if not inside:
            self.fail(f"expected a path inside {root} (--data_root names another), received {text}")
        path = next(filter(os.path.isfile, inside), inside[0])
        # Records carry no absolute paths: they must be the same on every machine.
        name = os.path.relpath(path, root).replace(os.sep, "/")
        self.paths[name] = path
        return name

    def _labels(self) -> list[str]:
        used = {label: row.line for row in reversed(self.rows) for label in row.labels}
        if not used:
            self.fail("expected a label in at least one row, received none")
        if not self._options.labels:
            return sorted(used)
        labels = load_labels(self._options.labels)
        for label, line in sorted(used.items(), key=lambda item: item[1]):
            if label not in labels:
                self._line = line
                self.fail(f"expected a label of {self._options.labels}, received {label!r}")
        return labels
