"""The list files of mmaction2 and its kin: a video or a folder of frames a line, and classes.

    videos/000.mp4 1              a video and its class, a number from 0
    videos/000.mp4 1 5 8          several classes (--multi_label)
    frames/000 163 1              a folder of frames (--frames_fps), their number and the class
    frames/000 163 1 5 8          or classes

`--input` is a list, or a folder of lists whose names hold train, val and test; paths are relative
to `--data_root`, or to the list. `--labels` names the classes, the first one is 0. Lists with an
offset (`with_offset`) are not read: their second number would pass for a count.
"""

from __future__ import annotations

import os
import re
from typing import Optional

from tfrecords.media import images, video
from tfrecords.sources.base import SourceOptions
from tfrecords.sources.lists.listed import (
    SPLITS,
    Entry,
    Listed,
    ListSource,
    class_names,
    find_files,
    read_lines,
)
from tfrecords.sources.published.layout import fail
from tfrecords.utils.errors import UsageError

LINE = re.compile(r"(.*?\S)((?:[\s,]+[0-9]{1,9})+)")


class Mmaction2Source(ListSource):
    """The source `mmaction2`; `options.input` is a list, or a folder of them."""

    name = "mmaction2"
    expected = "a list of mmaction2, or a folder of lists whose names hold train, val or test"

    def read(self, place: str, options: SourceOptions) -> Listed:
        """Reads the lists."""
        paths = {place: _split(place) or "train"}
        if os.path.isdir(place):
            found = find_files(place, ("annotations",), "*.txt")
            paths = {path: split for path in found for split in [_split(path)] if split}
        if not paths:
            raise UsageError(f"Expected --input to name {self.expected}, received {place}.")
        if len(set(paths.values())) < len(paths):
            fail(place, f"expected one list for each split, received {', '.join(paths)}")
        lines = [
            (path, split, line, *_parse(text, f"{path}, line {line}"))
            for path, split in paths.items()
            for line, text in read_lines(path, options)
        ]
        numbers = [number for *_, found in lines for number in found]
        if not numbers:
            fail(place, "expected a video and its class a line, received none")
        names = class_names(options, numbers, place)
        entries = []
        for _, split, line, name, found in lines:
            labels = tuple(names[number] for number in found)
            entries.append(Entry(name, labels, split, line=line))
        remarks = ()
        if not options.labels:
            remarks = ("Classes are called by their numbers: --labels=FILE names them.",)
        return Listed(entries, names, remarks)


def _parse(text: str, place: str) -> tuple[str, list[int]]:
    """Returns (path, numbers of the classes) of a line."""
    match = LINE.fullmatch(text)
    if not match:
        fail(place, f"expected a path and the numbers of its classes, received {text!r}")
    name, numbers = match[1].rstrip(","), [int(n) for n in re.findall(r"\d+", match[2])]
    if name.lower().endswith((*video.EXTENSIONS, *images.EXTENSIONS)):
        return name, numbers
    if len(numbers) < 2:
        fail(
            place,
            f"expected a folder of frames, their number and its classes, received {text!r}",
        )
    return name, numbers[1:]


def _split(path: str) -> Optional[str]:
    words = re.split(r"[^a-z]+", os.path.basename(path).lower())
    return next((SPLITS[word] for word in words if word in SPLITS), None)
