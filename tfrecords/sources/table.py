"""Reads csv tables by the names of their columns, for every source that has one.

Cells are separated by commas, semicolons or tabs, as the header shows. Text is UTF-8, UTF-16, or in
the encoding that is declared.

A name matches whatever its case, outer blanks and separators; `SYNONYMS` are taken and reported;
a name close to a column that is absent is refused; columns without a use are reported.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import difflib
import io
import math
import os
import re
import unicodedata
from typing import Any, BinaryIO, Dict, Iterator, List, NoReturn, Optional, Sequence, Tuple

from tfrecords.utils import filesystem
from tfrecords.utils.errors import UsageError
from tfrecords.utils.paths import similar

# Column -> other names for it, as `_squash` writes them; of several in a header the first one here.
SYNONYMS: Dict[str, Tuple[str, ...]] = {
    "video": (
        *("file", "filename", "filepath", "path", "videopath", "videofile", "videofilename"),
        *("mediafile", "mediafilepath", "mediafilename", "clippath", "clipfile"),
        *("videoname", "clip", "clipname", "vidname", "videoid", "youtubeid", "ytid"),
    ),
    "label": (
        *("class", "classname", "labelname", "action", "actionname", "actionlabel", "actionclass"),
        *("category", "categoryname", "activity", "activityname", "behavior", "behaviour"),
        *("labels", "tag", "verb"),
    ),
    "start": (
        *("starttime", "startsec", "startsecs", "startseconds", "starttimestamp", "timestart"),
        *("tstart", "begin", "begintime", "onset", "from"),
        *("begintimessmsec", "begintimehh:mm:ssms"),  # of ELAN's export as text
    ),
    "end": (
        *("endtime", "endsec", "endsecs", "endseconds", "endtimestamp", "timeend"),
        *("tend", "stop", "stoptime", "stoptimestamp", "to"),
        *("endtimessmsec", "endtimehh:mm:ssms"),
    ),
    "split": ("subset", "partition", "set", "phase", "datasplit"),
    "group": ("groupid", "groupname", "sourcegroup"),
    "mask": ("maskpath", "maskfile", "segmentation"),
    "conjugate_video": ("conjugate", "conjugatepath", "conjugatefile"),
    "conjugate_start": ("conjugatestarttime", "conjugatebegin"),
    "conjugate_end": ("conjugateendtime", "conjugatestop"),
}
NEAR = 0.76  # similarity (`difflib`) from which on a name is taken for a slip of the pen
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
EXCEL = re.compile(r"\W?sep=([,;\t])\W*", re.IGNORECASE)  # a first line of Excel's: the delimiter
CLOCK = re.compile(r"(?:(\d{1,9}):)?(\d{1,9}):(\d\d?(?:[.,]\d*)?)")  # [hh:]mm:ss.s


class TableReader:
    """A csv file with a header, read row by row.

    Args:
        path: Local file, or URL of `filesystem`.
        required: Columns that the table must have.
        optional: Columns that it may have.
        encoding: Encoding of its text; None (default): UTF-8 or UTF-16, as its first bytes show.

    Attributes:
        columns: The required and optional columns that it has.
        decimal_comma: Whether a comma in a number is its decimal point, as where cells are
            separated by other marks.
        remarks: Sentences for the user: synonyms, unused columns and, once it is read, empty rows.

    Raises:
        UsageError: If the file is missing, is no csv in that encoding, lacks a column, has one
            twice or one whose name is close to that of an absent one.
    """

    def __init__(
        self,
        path: str,
        required: Sequence[str],
        optional: Sequence[str] = (),
        encoding: Optional[str] = None,
    ):
        self._path = path
        self.remarks: List[str] = []
        self._file: Optional[io.TextIOWrapper] = None
        known = [*required, *optional]
        with self._errors():
            file = filesystem.open_file(path)
            self._encoding = encoding_of(file, path, encoding)
            text = self._file = io.TextIOWrapper(file, self._encoding, newline="")
            first = next((line for line in text if line.strip(" ,;\t\r\n")), "")
            said = EXCEL.fullmatch(first)
            self._delimiter = said[1] if said else self._separator(first, known)
            text.seek(0)
            self._reader = csv.reader(text, delimiter=self._delimiter, strict=True)
            filled = (
                [name.strip() for name in row] for row in self._reader if any(map(str.strip, row))
            )
            header = next(filled, [])
            if said:
                header = next(filled, [])
        self.decimal_comma = self._delimiter != ","
        if len(header) == 1 and "|" in header[0]:
            self.fail("expected cells separated by commas, semicolons or tabs, received bars")
        self._names = self._match(header, known)
        self.columns = {name for name in self._names if name}
        if not self.columns.issuperset(required):
            received = ", ".join(header) or "an empty file"
            self.fail(f"expected the columns {_listed(required)}, received {received}")

    def fail(self, message: str, line: int = 0) -> NoReturn:
        """Raises a UsageError that names the table and a line of it."""
        if self._file:
            self._file.close()
        where = f"{self._path}, line {line}" if line else self._path
        raise UsageError(f"{where}: {message}.")

    def __iter__(self) -> Iterator[Tuple[int, Dict[str, str]]]:
        """Yields (line, column -> cell without outer blanks), once; skips rows of empty cells."""
        empty, following = 0, self._reader.line_num + 1
        with self._errors(), contextlib.closing(self._file or io.StringIO()):
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
                        f"{len(cells)} (a cell with a {DELIMITERS.get(self._delimiter)} needs "
                        f"quotes): {', '.join(cells)}",
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
        squashed = ["" if name else _squash(given) for given, name in zip(header, names)]
        for meant in list(absent):
            taken = next((name for name in SYNONYMS.get(meant, ()) if name in squashed), None)
            if taken:
                index = squashed.index(taken)
                names[index], squashed[index] = meant, ""
                absent.remove(meant)
                self.remarks.append(f"{self._path}: the column {header[index]} is read as {meant}.")
        unused = [given for given, name in zip(header, names) if given and not name]
        for given in unused:
            near = _near(_squash(given), absent)
            if near:
                self.fail(f"expected the column {near}, received {given}; rename it")
        if unused:
            self.remarks.append(f"{self._path}: columns not used: {', '.join(unused)}.")
        return names

    def _separator(self, line: str, known: Sequence[str]) -> str:
        """Returns the delimiter of a header: the one that leaves most columns known."""
        spelling = {_squash(name) for name in known}
        spelling.update(name for column in known for name in SYNONYMS.get(column, ()))

        def found(mark: str) -> Tuple[int, int]:
            cells = next(csv.reader([line], delimiter=mark), [])
            return sum(_squash(cell.strip()) in spelling for cell in cells), line.count(mark)

        return max(DELIMITERS, key=found)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UnicodeError:
            expected = "UTF-8 or UTF-16" if self._encoding == "utf-8-sig" else self._encoding
            self.fail(
                f"expected text in {expected}, received other bytes (--encoding declares another "
                "encoding, such as latin-1)",
                self._undecodable(),
            )
        except csv.Error as error:
            line = getattr(self, "_reader", None) and self._reader.line_num
            self.fail(f"expected csv, received: {error}", line or 1)
        except OSError as error:
            reason = error.strerror or error
            meant = similar(filesystem.absolute(self._path), (".csv", ".tsv", ".txt"))
            hint = f" (did you mean {meant}?)" if meant and not os.path.exists(self._path) else ""
            raise UsageError(f"Expected a csv file at {self._path}: {reason}{hint}.") from error

    def _undecodable(self) -> int:
        """Returns the first line that cannot be decoded; text is decoded by blocks of many."""
        with filesystem.open_file(self._path) as file:
            data = file.read()
        try:
            data.decode(self._encoding)
        except UnicodeDecodeError as error:
            return data[: error.start].decode(self._encoding, "ignore").count("\n") + 1
        return 0


def encoding_of(file: BinaryIO, path: str, declared: Optional[str] = None) -> str:
    """Returns the encoding of a file of text by its first bytes, or the one declared.

    Raises:
        UsageError: The two contradict each other.
    """
    head = file.read(4)
    file.seek(0)
    marked = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    if declared:
        name = codecs.lookup(declared).name
        if marked and not name.startswith(marked[:5]):
            raise UsageError(
                f"{path}: expected text in {declared} by --encoding, received a mark of "
                f"{marked.removesuffix('-sig')}."
            )
        return marked or name
    zeros = [byte == 0 for byte in head]
    if zeros == [False, True, False, True]:
        return "utf-16-le"
    return marked or ("utf-16-be" if zeros == [True, False, True, False] else "utf-8-sig")


def check_encoding(name: str) -> None:
    """Raises a UsageError if `--encoding` does not name an encoding of text."""
    try:
        b"text".decode(name)
    except UnicodeDecodeError:
        pass  # these bytes mean nothing in it
    except (LookupError, ValueError) as error:
        raise UsageError(
            f"Expected --encoding to name an encoding of text, such as latin-1, received {name!r}."
        ) from error


def parse_seconds(value: Any, decimal_comma: bool = False) -> float:
    """Returns a time in seconds, given as a number, mm:ss or hh:mm:ss.s; NaN if it is none.

    Args:
        value: Number, or the text of a cell.
        decimal_comma: Whether 1,5 is a number; default False.
    """
    clock = CLOCK.fullmatch(value) if isinstance(value, str) else None
    if clock:
        hours, minutes, seconds = (
            int(clock[1] or 0),
            int(clock[2]),
            float(clock[3].replace(",", ".")),
        )
        whole = seconds < 60 and (minutes < 60 or not clock[1])
        return 3600 * hours + 60 * minutes + seconds if whole else math.nan
    if isinstance(value, str) and decimal_comma and value.count(",") == 1 and "." not in value:
        value = value.replace(",", ".")
    try:
        return math.nan if "_" in str(value) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


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
