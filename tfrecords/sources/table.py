"""Reads csv tables by the names of their columns, for every source that has one.

A name matches whatever its case, outer blanks and separators; `SYNONYMS` are taken and reported;
a name close to a column that is absent is refused; columns without a use are reported.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import re
import unicodedata
from typing import Dict, Iterator, List, NoReturn, Sequence, Tuple

from tfrecords.utils import filesystem
from tfrecords.utils.errors import UsageError

# Column -> other names for it, as `_squash` writes them.
SYNONYMS: Dict[str, Tuple[str, ...]] = {
    "video": ("file", "filename", "filepath", "path", "videopath", "videofile", "videoname"),
    "label": ("class", "classname", "labelname", "action", "actionname", "category"),
    "start": ("starttime", "startsec", "startsecs", "startseconds", "tstart", "begin", "begintime"),
    "end": ("endtime", "endsec", "endsecs", "endseconds", "tend", "stop", "stoptime"),
    "split": ("subset", "partition", "set"),
    "mask": ("maskpath", "maskfile", "segmentation"),
    "conjugate_video": ("conjugate", "conjugatepath", "conjugatefile"),
    "conjugate_start": ("conjugatestarttime", "conjugatebegin"),
    "conjugate_end": ("conjugateendtime", "conjugatestop"),
}
NEAR = 0.76  # similarity (`difflib`) from which on a name is taken for a slip of the pen
SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars"}


class TableReader:
    """A csv file with a header, read row by row.

    Args:
        path: Local file, or URL of `filesystem`.
        required: Columns that the table must have.
        optional: Columns that it may have.

    Attributes:
        columns: The required and optional columns that it has.
        remarks: Sentences for the user: synonyms, unused columns and, once it is read, empty rows.

    Raises:
        UsageError: If the file is missing, is no csv in UTF-8, lacks a column, has one twice or one
            whose name is close to that of an absent one.
    """

    def __init__(self, path: str, required: Sequence[str], optional: Sequence[str] = ()):
        self._path = path
        self.remarks: List[str] = []
        with self._errors():
            self._file = io.TextIOWrapper(filesystem.open_file(path), "utf-8-sig", newline="")
            self._reader = csv.reader(self._file, strict=True)
            header = [name.strip() for name in next(self._reader, [])]
        for mark, name in SEPARATORS.items():
            if len(header) == 1 and mark in header[0]:
                self.fail(f"expected cells separated by commas, received {name}")
        self._names = self._match(header, [*required, *optional])
        self.columns = {name for name in self._names if name}
        if not self.columns.issuperset(required):
            received = ", ".join(header) or "an empty file"
            self.fail(f"expected the columns {_listed(required)}, received {received}")

    def fail(self, message: str, line: int = 0) -> NoReturn:
        """Raises a UsageError that names the table and a line of it."""
        where = f"{self._path}, line {line}" if line else self._path
        raise UsageError(f"{where}: {message}.")

    def __iter__(self) -> Iterator[Tuple[int, Dict[str, str]]]:
        """Yields (line, column -> cell without outer blanks), once; skips rows of empty cells."""
        empty, following = 0, self._reader.line_num + 1
        with self._errors(), self._file:
            for row in self._reader:
                cells = [cell.strip() for cell in row]
                # Cells may hold some.
                line, following = following, self._reader.line_num + 1
                if any("\0" in cell for cell in cells):  # no path has one; older Pythons refuse it
                    self.fail("expected text, received a zero byte", line)
                if not any(cells):
                    empty += bool(cells)
                    continue
                surplus = [cell for cell in cells[len(self._names) :] if cell]
                if surplus:
                    self.fail(
                        f"expected {len(self._names)} cells as in the header, received "
                        f"{len(cells)} (a cell with a comma needs quotes): {', '.join(cells)}",
                        line,
                    )
                cells += [""] * (len(self._names) - len(cells))
                yield line, {name: cell for name, cell in zip(self._names, cells) if name}
        if empty:
            rows = "1 row" if empty == 1 else f"{empty} rows"
            self.remarks.append(f"{self._path}: {rows} of empty cells skipped.")

    def _match(self, header: List[str], known: List[str]) -> List[str]:
        """Returns the column of each cell of the header; "" for one without a use."""
        spelling = {_squash(name): name for name in known}
        names = [spelling.get(_squash(name), "") for name in header]
        absent = [name for name in known if name not in names]
        twice = [name for n, name in enumerate(names) if name and name in names[:n]]
        if twice or len(set(header)) < len(header):
            self.fail(f"expected each column once, received one twice: {', '.join(header)}")
        for index, given in enumerate(header):
            if names[index] or not given:
                continue
            meant = [name for name in absent if _squash(given) in SYNONYMS.get(name, ())]
            if meant:
                names[index] = meant[0]
                absent.remove(meant[0])
                self.remarks.append(f"{self._path}: the column {given} is read as {meant[0]}.")
        unused = [given for given, name in zip(header, names) if given and not name]
        for given in unused:
            near = _near(_squash(given), absent)
            if near:
                self.fail(f"expected the column {near}, received {given}; rename it")
        if unused:
            self.remarks.append(f"{self._path}: columns not used: {', '.join(unused)}.")
        return names

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError:
            self.fail("expected text in UTF-8, received other bytes", self._undecodable())
        except csv.Error as error:
            self.fail(f"expected csv, received: {error}", self._reader.line_num)
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"Expected a csv file at {self._path}: {reason}.") from error

    def _undecodable(self) -> int:
        """Returns the first line that is not in UTF-8; text is decoded in blocks of many lines."""
        good = 0
        with contextlib.suppress(UnicodeDecodeError), filesystem.open_file(self._path) as file:
            for line in file:
                line.decode("utf-8")
                good += 1
        return good + 1


def normalize_label(text: str) -> str:
    """Returns a class name in the Unicode form NFC, without outer blanks."""
    return unicodedata.normalize("NFC", text).strip()


def _squash(name: str) -> str:
    """Strips a name of case and separators, and of a unit of seconds in brackets."""
    name = re.sub(r"[\[(]\s*(s|sec|secs|seconds)\s*[\])]\s*$", "", name.casefold())
    return re.sub(r"[\s_.-]+", "", name)


def _near(name: str, columns: Sequence[str]) -> str:
    """Returns the column that a name seems to mean: a slip of the pen, or one with another unit."""
    spelling = {_squash(column): column for column in columns}
    close = difflib.get_close_matches(name, spelling, 1, NEAR)
    close += [k for k in spelling if name.startswith(k) or sorted(name) == sorted(k)]
    return spelling[close[0]] if close else ""


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) == 2 else ", ".join(names)
