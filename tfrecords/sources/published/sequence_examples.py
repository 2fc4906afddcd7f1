"""Imports SequenceExamples of other programs: MediaSequence, DMVR, Model Garden.

    python -m tfrecords.build --source=tfrecords --input='their/train-*' --output=data/mine

Read are frames (`image/encoded`, JPEG or PNG), labels (`clip/label/string`, `clip/label/text` or,
with the names by `--labels`, `clip/label/index`) and, if they are there, rate (`image/frame_rate`,
or the times of `image/timestamp`), id and file. The split is the word for one in a file's name,
else `train`. A rate that no record tells is `--fps`, or 25 frames a second.
"""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Iterator, Optional, Sequence

import numpy as np

from tfrecords.media.video import (
    DEFAULT_RATE,
    UnreadableError,
    Video,
    resample,
    resize,
    scaled_size,
)
from tfrecords.records.dataset import READ_SPLITS, SPLIT_WORDS, load_labels
from tfrecords.sources.base import Row, Source, SourceOptions
from tfrecords.sources.table import normalize_label
from tfrecords.utils.errors import UsageError, UserError, raise_if_machine

if TYPE_CHECKING:
    from tfrecords.records.clip_pair import ClipPair
    from tfrecords.records.example import Example

LABELS, LABEL_IDS = ("clip/label/string", "clip/label/text"), "clip/label/index"
IDS = ("example/id", "clip/id", "clip/data_path", "clip/media_id")
FRAMING = 12, 4  # bytes before and behind a record


@dataclass(frozen=True)
class RecordRow(Row):
    """A record of a file: `line` is its number; where it begins and ends."""

    offset: int = 0
    length: int = 0


class TfrecordsSource(Source):
    """The source `tfrecords`; `options.input` names a file, a folder or a pattern of files."""

    name = "tfrecords"

    def __init__(self, options: SourceOptions):
        super().__init__(options)
        if options.conjugate not in (None, "none", "frozen_frame"):
            raise UsageError(
                "Expected --conjugate=none or frozen_frame for --source=tfrecords, received "
                f"{options.conjugate}."
            )
        self.conjugate = options.conjugate or "none"
        self.multi_label, self.rate = options.multi_label, options.fps
        self._names = load_labels(options.labels) if options.labels else None
        self._ids: set[str] = set()
        self._unknown_rates = 0
        self._rows = [row for path in self._files(options.input) for row in self._list(path)]
        found = {label for row in self._rows for label in row.labels}
        self.labels = self._names or sorted(found)
        if not self.labels:
            raise UsageError(f"Expected labelled records in {options.input}, received none.")
        if unknown := found - {*self.labels}:
            raise UsageError(
                f"Expected the labels of {options.labels} in {options.input}, received "
                f"{min(unknown)!r}."
            )
        if self._unknown_rates:
            self.remarks = (
                f"{self._unknown_rates} records tell no frame rate: taken as "
                f"{self.rate or DEFAULT_RATE:g} frames a second (--fps says another).",
            )

    def rows(self) -> Sequence[Row]:
        """Returns all rows, in the order of the files and records."""
        return self._rows

    def load(self, row: Row) -> ClipPair:
        """Decodes a record; UnreadableError if a frame is damaged or of another size."""
        from tfrecords.records.clip_pair import ClipPair
        from tfrecords.records.codec import decode_image
        from tfrecords.records.example import Example

        assert isinstance(row, RecordRow)
        with open(row.media, "rb") as file:
            file.seek(row.offset)
            example = Example(file.read(row.length))
        try:
            pictures = example.pictures("image/encoded", None)
            frames = [decode_image(picture, 3) for picture in pictures]
        except Exception as error:  # of OpenCV, TensorFlow or ours
            raise_if_machine(error, row.media)
            reason = " ".join(str(error).split()).rstrip(".")
            raise UnreadableError(row.media, f"record {row.line}: {reason}") from error
        height, width = frames[0].shape[:2]
        size = scaled_size(height, width, self.short_side)
        stack = np.stack([resize(frame, size) for frame in frames])
        rate, start = _rate(example), _start(example)
        fps = rate or self.rate or DEFAULT_RATE
        video = Video(stack, fps, start + np.arange(len(stack)) / fps)
        if self.rate and rate:
            video = resample(row.media, video, self.rate)
        conjugate = None
        if self.conjugate == "frozen_frame":
            conjugate = np.repeat(video.frames[:1], len(video.frames), axis=0)
        return ClipPair(
            row.id, video.frames, conjugate, row.labels, video.fps, media_id=_media(example, row),
            start=start,
        )  # fmt: skip

    def _files(self, pattern: Optional[str]) -> list[str]:
        if not pattern:
            raise UsageError("Expected --input to name TFRecord files, received none.")
        pattern = os.path.expanduser(pattern)
        found = glob.glob(os.path.join(pattern, "*") if os.path.isdir(pattern) else pattern)
        files = sorted(
            path
            for path in found
            if os.path.isfile(path) and not path.endswith((".txt", ".json", ".csv", ".pbtxt"))
        )
        if not files:
            raise UsageError(f"Expected TFRecord files by --input, received none: {pattern!r}.")
        return files

    def _list(self, path: str) -> Iterator[RecordRow]:
        """Yields the rows of a file."""
        from tfrecords.records.checking import naming, read_shard
        from tfrecords.records.example import Example

        offset, split = 0, split_of(path)
        before, behind = FRAMING
        for number, serialized in read_shard(path):
            with naming(path, number):
                example = Example(serialized)
                if "image/encoded" not in example.lists:
                    raise UserError(f"image/encoded: expected frames, received {_kind(example)}")
                labels = self._labels_of(example)
                if len(labels) > 1 and not self.multi_label:
                    raise UserError(
                        f"expected one label (several need --multi_label), received {len(labels)}"
                    )
                self._unknown_rates += _rate(example) is None
            yield RecordRow(
                split=split,
                id=self._id(example, path, number),
                labels=labels,
                media=path,
                line=number,
                offset=offset + before,
                length=len(serialized),
            )
            offset += before + len(serialized) + behind

    def _labels_of(self, example: Example) -> tuple[str, ...]:
        for name in LABELS:
            if name in example:
                labels = map(normalize_label, example.values(name, str))
                return tuple(dict.fromkeys(filter(None, labels)))
        if LABEL_IDS not in example:
            known = ", ".join((*LABELS, LABEL_IDS))
            raise UserError(f"expected labels ({known}), received {_kind(example)}")
        ids = example.values(LABEL_IDS, int)
        if self._names is None:
            return tuple(str(number) for number in dict.fromkeys(ids))
        if bad := [number for number in ids if not 0 <= number < len(self._names)]:
            raise UserError(
                f"{LABEL_IDS}: expected ids of the {len(self._names)} lines of --labels, "
                f"received {bad[0]}"
            )
        return tuple(self._names[number] for number in dict.fromkeys(ids))

    def _id(self, example: Example, path: str, number: int) -> str:
        known = next((_text(example, name) for name in IDS if _text(example, name)), None)
        name = known or f"{os.path.basename(path)}:{number}"
        if name in self._ids:
            name = f"{name}#{os.path.basename(path)}:{number}"
        self._ids.add(name)
        return name


def split_of(path: str) -> str:
    """Returns the split that a file's name tells: `kinetics-val-00000-of-00010` -> validation."""
    for word in re.split(r"[^a-z]+", os.path.basename(path).lower()):
        split = SPLIT_WORDS.get(word, word)
        if split in READ_SPLITS:
            return split
    return "train"


def _text(example: Example, name: str) -> str:
    try:
        return example.value(name, str) if name in example else ""
    except UserError:  # of another type
        return ""


def _media(example: Example, row: Row) -> str:
    return _text(example, "clip/media_id") or _text(example, "clip/data_path") or row.media


def _rate(example: Example) -> Optional[float]:
    """Returns frames a second by the rate, else by the times, or None."""
    try:
        if "image/frame_rate" in example:
            rate = example.value("image/frame_rate", float)
        else:
            times = example.entries("image/timestamp", int)
            rate = 1e6 / median(b - a for a, b in zip(times, times[1:]))
    except (UserError, ValueError, ZeroDivisionError):
        return None
    return rate if 0 < rate < 1e6 else None


def _start(example: Example) -> float:
    try:
        return max(0, example.value("clip/start/timestamp", int)) / 1e6
    except UserError:
        return 0.0


def _kind(example: Example) -> str:
    """Describes a record that lacks what is needed."""
    lists = example.lists
    if not lists:
        return "a record without lists of features, such as a tf.train.Example"
    return f"a SequenceExample of {', '.join(lists[:5])}"
