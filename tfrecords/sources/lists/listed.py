"""What sources share whose files are known by name: finding them, and making rows of entries.

A list names a video by its path, with another extension or in another folder than where it lies, or
by an identifier alone. So a file is sought below the root at the path given, then by its name
without extension and whatever its case.
"""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from tfrecords.media import images, video
from tfrecords.media.frames import FrameFolder
from tfrecords.records.dataset import load_labels
from tfrecords.sources.base import Row, SourceOptions, with_removal
from tfrecords.sources.published.layout import fail, ordered_labels, require_local
from tfrecords.sources.table import encoding_of, normalize_label
from tfrecords.sources.videos import VideoSource
from tfrecords.utils.errors import UsageError
from tfrecords.utils.paths import target_outside

UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # JSON may hold zero bytes and halves of characters
MAX_CLASSES = 100_000  # of a list that numbers them
SPANS = ("before_after", "negative_clip", "frozen_frame", "auto", "none")
WHOLE_FILES = ("frozen_frame", "auto", "none")
# How lists and folders call their splits; another one of validation may be the one that is tested.
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}


class Entry(NamedTuple):
    """A clip of a list: the name of its video, labels, split and span in seconds.

    `line` is its line of the list, `frames` the span as numbers of frames from 0 (end exclusive;
    None: the file's) where the list counts them.
    """

    video: str
    labels: Tuple[str, ...]
    split: str = "train"
    start: float = 0.0
    end: Optional[float] = None
    line: int = 0
    frames: Optional[Tuple[int, Optional[int]]] = None


class Listed(NamedTuple):
    """The content of a list: entries, classes in their order (None: sorted), remarks."""

    entries: List[Entry]
    labels: Optional[List[str]] = None
    remarks: Tuple[str, ...] = ()


class Media:
    """The videos below a folder, and with `fps` the folders of frames; found by name.

    Args:
        root: Folder.
        fps: Rate of folders of frames; None: they are not read.
    """

    def __init__(self, root: str, fps: Optional[float]):
        self._root = root
        self._fps = fps
        self._by_stem: Dict[str, List[str]] = {}
        for path in sorted(_walk(root, bool(fps))):
            self._by_stem.setdefault(_stem(path), []).append(path)

    def find(self, name: str, *others: str) -> Optional[str]:
        """Returns the path below the root of a file of that name or another one, or None.

        Raises:
            UsageError: Several files have that name.
        """
        for written in (name, *others):
            path = os.path.normpath(written.replace("\\", "/"))
            if os.path.exists(os.path.join(self._root, path)) and not _leads_up(path):
                return path.replace(os.sep, "/")
        for written in (name, *others):
            found = self._by_stem.get(_stem(written), [])
            if len(found) > 1:
                found = _closest(written, found)
            if len({os.path.realpath(os.path.join(self._root, path)) for path in found}) > 1:
                fail(
                    self._root,
                    f"expected one file for {written}, received {found[0]} and {found[1]} "
                    "(--data_root names the folder of the videos)",
                )
            if found:
                return found[0]
        return None

    def path(self, name: str) -> str:
        """Returns the whole path of a name below the root.

        Raises:
            UsageError: It leads out of the root, or is a folder of frames without a rate.
        """
        path = os.path.join(self._root, name)
        target = target_outside(os.path.abspath(path), os.path.abspath(self._root))
        if target or _leads_up(os.path.normpath(name)):
            raise UsageError(
                f"Expected files inside {self._root} (--data_root names another folder), received "
                f"{name}, which leads to {target or os.path.abspath(path)}."
            )
        if not os.path.isdir(path):
            return path
        if not self._fps:
            raise UsageError(
                f"Expected files in {self._root}, or --frames_fps for folders of frames, received "
                f"the folder {name}."
            )
        return FrameFolder(path, self._fps)


class ListSource(VideoSource):
    """A source by a list of files; a subclass reads the list.

    Attributes:
        expected: What `--input` must name, for messages.
        kinds: Kinds of conjugates that it allows, the default first.
        has_splits: Whether the list says the splits.
    """

    expected = "a list of files"
    kinds: Tuple[str, ...] = WHOLE_FILES
    has_splits = True

    def __init__(self, options: SourceOptions):
        place = require_local(options.input, "--input", self.expected)
        if not os.path.exists(place):
            raise UsageError(f"Expected --input to name {self.expected}, received {place}.")
        folder = place if os.path.isdir(place) else os.path.dirname(place) or "."
        root = options.data_root or folder
        if not os.path.isdir(require_local(root, "--data_root", "the folder of the videos")):
            raise UsageError(f"Expected --data_root to name a folder, received {root}.")
        kinds = with_removal(self.kinds, options)
        conjugate = options.conjugate or kinds[0]
        if conjugate not in kinds:
            raise UsageError(
                f"Expected --conjugate={', '.join(kinds)} for --source={self.name}, received "
                f"{conjugate}."
            )
        listed = self.read(place, options)
        if not listed.entries:
            fail(place, "expected at least one clip with a label, received none")
        media = Media(root, options.frames_fps)
        rows, paths, said = self._rows(listed.entries, media, options)
        if listed.labels and not options.labels:
            labels = list(dict.fromkeys(map(normalize_label, listed.labels)))
        else:
            labels = ordered_labels(options, {label for row in rows for label in row.labels})
        splits = place if self.has_splits else ""
        super().__init__(options, rows, paths, labels, conjugate, splits)
        self.remarks = (*listed.remarks, *said, *self.remarks, *self.missing())

    def read(self, place: str, options: SourceOptions) -> Listed:
        """Reads the list at `--input`.

        Raises:
            UsageError: It is not in the form that its publisher gives it.
        """
        raise NotImplementedError

    def names(self, video: str) -> Sequence[str]:
        """Returns the names under which the file of an entry may lie, the usual one first."""
        return (video,)

    def seconds(self, entry: Entry, path: Optional[str], fps: Optional[float]) -> Entry:
        """Returns an entry with its span in seconds; `path` None: its file is not there."""
        return entry

    def _rows(
        self, entries: Sequence[Entry], media: Media, options: SourceOptions
    ) -> tuple[list[Row], dict[str, str], tuple[str, ...]]:
        """Returns (rows, path of every file, remarks)."""
        rows, paths, files, seen = [], {}, {}, set()
        for entry in entries:
            labels = _labels(entry, options)
            if entry.video not in files:
                names = self.names(entry.video)
                found = media.find(*names)
                files[entry.video] = found or _below(names[0])
                paths[files[entry.video]] = media.path(files[entry.video])
            name = files[entry.video]
            here = paths[name] if os.path.exists(paths[name]) else None
            entry = self.seconds(entry, here, options.frames_fps)
            identity = name
            if entry.start or entry.end is not None:
                end = "" if entry.end is None else f"{entry.end:.3f}"
                identity += f"@{entry.start:.3f}-{end}"
            while identity in seen:
                identity += f"#{entry.line}"
            seen.add(identity)
            span = entry.start, entry.end
            rows.append(Row(entry.split, identity, labels, name, *span, line=entry.line))
        return rows, paths, _elsewhere(files, self)


def _labels(entry: Entry, options: SourceOptions) -> tuple[str, ...]:
    """Returns the labels of an entry, checked; its name too.

    Raises:
        UsageError: The name is none, or the labels are no classes.
    """
    place = f"{options.input}, {entry.video!r}"
    if not entry.video.strip() or UNWRITABLE.search(entry.video):
        fail(place, "expected the name of a video, received another text")
    labels = tuple(dict.fromkeys(filter(None, map(normalize_label, entry.labels))))
    for label in labels:
        if len(label.splitlines()) > 1 or UNWRITABLE.search(label):
            fail(place, f"expected a label on one line, received {label!r}")
    if len(labels) > 1 and not options.multi_label:
        fail(place, f"expected one label (several need --multi_label), received {len(labels)}")
    return labels


def read_lines(path: str, options: SourceOptions) -> list[tuple[int, str]]:
    """Returns (line, text) of the lines of a list that are not empty.

    Raises:
        UsageError: It cannot be read as text.
    """
    try:
        with open(path, "rb") as file:
            encoding = encoding_of(file, path, options.encoding)
            text = file.read().decode(encoding)
    except OSError as error:
        raise UsageError(f"Expected a list at {path}: {error.strerror}.") from error
    except UnicodeError as error:
        raise UsageError(
            f"{path}: expected text in {options.encoding or 'UTF-8 or UTF-16'}, received other "
            "bytes (--encoding declares another encoding)."
        ) from error
    lines = enumerate(text.split("\n"), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def find_files(place: str, folders: Sequence[str], pattern: str) -> list[str]:
    """Lists the files of a pattern in a folder or in the first of its folders that has some."""
    for folder in ("", *folders):
        found = glob.glob(os.path.join(glob.escape(os.path.join(place, folder)), pattern))
        if found:
            return sorted(found)
    return []


def class_names(options: SourceOptions, used: Sequence[int], place: str) -> list[str]:
    """Returns the names of classes that a list numbers from 0: of `--labels`, else the numbers.

    Raises:
        UsageError: `--labels` has fewer lines than there are classes.
    """
    highest = max(used)
    if highest >= MAX_CLASSES:
        fail(place, f"expected at most {MAX_CLASSES} classes, received the number {highest}")
    if not options.labels:
        return [str(number) for number in range(highest + 1)]
    labels = [normalize_label(label) for label in load_labels(options.labels)]
    if highest >= len(labels):
        fail(
            place,
            f"expected classes 0 to {len(labels) - 1} of {options.labels}, received {highest}",
        )
    return labels


def _walk(root: str, frames: bool) -> Iterator[str]:
    """Yields the paths below a root of videos, and of folders that hold photographs."""
    seen = set()
    for parent, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link that leads back up
            folders[:] = []
            continue
        seen.add(real)
        below = os.path.relpath(parent, root)
        shown = [name for name in names if not name.startswith(".")]
        if frames and below != "." and any(map(images.is_photograph, shown)):
            yield below.replace(os.sep, "/")
            folders[:] = []
        for name in shown:
            if name.lower().endswith(video.EXTENSIONS):
                yield os.path.normpath(os.path.join(below, name)).replace(os.sep, "/")


def _stem(path: str) -> str:
    name = os.path.basename(path.replace("\\", "/").rstrip("/"))
    stem, extension = os.path.splitext(name)
    name = stem if extension.lower() in video.EXTENSIONS else name
    return unicodedata.normalize("NFC", name).casefold()


def _closest(written: str, found: Sequence[str]) -> list[str]:
    """Returns the files whose folders agree most with a path; of one folder the first."""
    wanted = [part.casefold() for part in written.replace("\\", "/").split("/")[:-1]]

    def agree(path: str) -> int:
        parts = [part.casefold() for part in path.split("/")[:-1]]
        count = 0
        while count < min(len(parts), len(wanted)) and parts[-1 - count] == wanted[-1 - count]:
            count += 1
        return count

    most = max(map(agree, found))
    best = [path for path in found if agree(path) == most]
    by_folder: Dict[str, str] = {}
    for path in sorted(best, key=_rank):
        by_folder.setdefault(os.path.dirname(path), path)
    return list(by_folder.values())


def _rank(path: str) -> tuple[int, str]:
    extension = os.path.splitext(path)[1].lower()
    known = extension in video.EXTENSIONS
    return (video.EXTENSIONS.index(extension) if known else len(video.EXTENSIONS)), path


def _below(path: str) -> str:
    """Returns the path of a missing file; of one from elsewhere the name alone."""
    path = os.path.normpath(path.replace("\\", "/"))
    return os.path.basename(path) if _leads_up(path) else path


def _leads_up(path: str) -> bool:
    return os.path.isabs(path) or path.split(os.sep)[0] == os.pardir


def _elsewhere(files: Dict[str, str], source: ListSource) -> tuple[str, ...]:
    """Returns a sentence on files that have another name than the list says."""
    moved = [
        (written, path)
        for written, path in files.items()
        if os.path.basename(path) not in {os.path.basename(name) for name in source.names(written)}
        and os.path.splitext(written)[1].lower() in video.EXTENSIONS
    ]
    if not moved:
        return ()
    return (
        f"{len(moved)} files are read under another name than the list has, such as {moved[0][1]} "
        f"for {moved[0][0]}.",
    )
