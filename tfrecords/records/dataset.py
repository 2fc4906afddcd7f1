"""The files of a data set directory, and what they say.

    DIR/dataset.json   the fields of `DatasetInfo`
    DIR/labels.txt     one class a line, the first line is id 0; decides the ids in every split
    DIR/skipped.csv    file,reason
    DIR/train-00000-of-00004.tfrecord ...
    DIR/manifest.json  records, bytes and sha256 of every shard
    DIR/build.json     the plan of the build, if `tfrecords.build` made it

`dataset.json` is written last: a directory that has one is complete. A directory may be remote; a
local one needs no TensorFlow here, so that a command can report a wrong path at once.
"""

from __future__ import annotations

import csv
import difflib
import functools
import hashlib
import io
import json
import os
import re
import unicodedata
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import (
    Annotated,
    Dict,
    Iterable,
    List,
    Literal,
    Mapping,
    Optional,
    Sequence,
    TypedDict,
)

from tfrecords.records.foreign import describe_foreign
from tfrecords.records.names import MAX_PIXELS
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import AnyPath, file_size, to_path
from tfrecords.utils.json_files import Limits, read_json

SCHEMA_VERSION = 1
INFO_FILE = "dataset.json"
LABELS_FILE = "labels.txt"
SKIPPED_FILE = "skipped.csv"
MANIFEST_FILE = "manifest.json"
PLAN_FILE = "build.json"
FEATURES = "features"  # the modality of a directory of cached features
READ_SPLITS = ("train", "validation", "test")  # and all whose names begin with test
# What people call a split -> its name here; slips of the pen are found by `difflib`.
SPLIT_WORDS = {
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "eval": "validation",
    "training": "train",
}
SPLIT_NAME = re.compile(r"[a-z0-9_]+")
SHARD_NAME = re.compile(r"[a-z0-9_]+-\d{5}-of-\d{5}\.tfrecord")


MAX_RECORD = 1 << 31  # bytes, as protobuf
CHECKED_RECORDS = 10_000  # of a split, whose lengths are looked at in a second, before TensorFlow
MAX_SHARDS = 99_999  # their names have five digits
# What one number of `DatasetInfo` may be: files or records of a split, pixels of a side.
Count = Annotated[int, Limits(0, 1 << 32)]
Side = Annotated[int, Limits(1, MAX_PIXELS)]


class ShardEntry(TypedDict):
    """What `manifest.json` notes of a shard."""

    records: Count
    bytes: Annotated[int, Limits(0, 1 << 50)]
    sha256: str


class Manifest(TypedDict):
    """The content of `manifest.json`."""

    shards: Dict[str, ShardEntry]


@dataclass
class DatasetInfo:
    """The content of `dataset.json`.

    Attributes:
        source: Name of the source of the data set ("python": `write_dataset`).
        fps: Frame rate; None: records differ.
        frame_size: [height, width] in pixels; None: records differ.
        labels: Class names; the index in the list is the id.
        multi_label: Whether a clip may have several labels at once.
        splits: Name -> {"shards", "clips", "pairs", "negatives", "skipped"}: number of files,
            records, records with a conjugate, records without a label, rows that could not be
            read; and, if any, "decoys": records whose clip has a decoy, and "pairs_given" and its
            kin: records by the origin of their conjugates, where each clip has its own, and
            "masks_auto:motion" and its kin: by the origin of their masks, where records say it.
        modality: "rgb"; "rgb+flow": the records hold optical flow too; "features": they hold a
            backbone's feature maps and no frames, see `tfrecords.reading.features`.
        schema_version: Version of the records, see `tfrecords.records.codec`.
        warnings: What is suspicious about classes and splits, see `class_warnings`; written only if
            there are any.
    """

    source: str
    fps: Optional[Annotated[float, Limits(1e-9, 1e9)]]
    frame_size: Optional[Annotated[List[Side], Limits(2, 2)]]
    labels: List[str]
    multi_label: bool = False
    splits: Dict[str, Dict[str, Count]] = field(default_factory=dict)
    modality: Literal["rgb", "rgb+flow", "features"] = "rgb"
    schema_version: int = SCHEMA_VERSION
    warnings: List[str] = field(default_factory=list)

    @property
    def filled_splits(self) -> list[str]:
        """Names of the splits that have clips."""
        return [name for name, counts in self.splits.items() if counts["clips"]]

    def require_split(self, name: str) -> dict[str, int]:
        """Returns the counts of a split; UsageError if it is missing or empty."""
        if name not in self.splits:
            raise UsageError(
                f"Expected one of the data set's splits ({', '.join(self.splits)}), "
                f"received {name!r}."
            )
        if not self.splits[name]["clips"]:
            raise UsageError(f"Expected clips in split {name!r}, received an empty split.")
        return self.splits[name]

    def to_json(self) -> str:
        """Returns the text of `dataset.json`, the same bytes for the same content."""
        content = asdict(self)
        if not self.warnings:
            del content["warnings"]
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def load_info(directory: StrPath) -> DatasetInfo:
    """Reads and checks `dataset.json` and `labels.txt`.

    Raises:
        UsageError: The directory is not a finished data set.
        UserError: Its files are corrupt or contradict each other.
    """
    path = to_path(directory) / INFO_FILE
    if not path.is_file():
        foreign = "" if path.with_name(PLAN_FILE).exists() else describe_foreign(path.parent)
        none = "which has none (an unfinished build is continued by the same build command)"
        raise UsageError(
            f"Expected a data set directory with a {INFO_FILE}, received {str(directory)!r}, "
            f"{foreign or none}."
        )
    info = read_json(path, DatasetInfo)
    if info.schema_version != SCHEMA_VERSION:
        raise UserError(
            f"Expected records of schema version {SCHEMA_VERSION} in {path}, "
            f"received version {info.schema_version}; build the data set again."
        )
    labels = load_labels(path.with_name(LABELS_FILE))
    if labels != info.labels:
        raise UserError(
            f"Expected the {len(labels)} classes of {path.with_name(LABELS_FILE)} in {path}, "
            f"received {len(info.labels)} that differ."
        )
    for split, counts in info.splits.items():
        if not SPLIT_NAME.fullmatch(split):
            raise UserError(f"{path}: expected splits named [a-z0-9_]+, received {split!r}.")
        for key in ("shards", "clips", "pairs"):
            if key not in counts:
                raise UserError(f"{path}: expected the field splits.{split}.{key}, received none.")
        if counts["shards"] > MAX_SHARDS:
            raise UserError(
                f"{path}: expected splits.{split}.shards to be at most {MAX_SHARDS}, received "
                f"{counts['shards']}."
            )
        most = max(counts.get(key, 0) for key in ("pairs", "negatives", "decoys"))
        if most > counts["clips"] or (counts["clips"] and not counts["shards"]):
            raise UserError(
                f"{path}: expected splits.{split} to be counts of clips, received {counts}."
            )
    return info


def conjugate_kinds(info: DatasetInfo) -> str:
    """Returns how many conjugates have which origin, where each clip has its own; else ""."""
    return _origins(info, "pairs_")


def mask_origins(info: DatasetInfo) -> str:
    """Returns how many masks have which origin, where records say it; else ""."""
    return _origins(info, "masks_")


def _origins(info: DatasetInfo, prefix: str) -> str:
    counts: Counter[str] = Counter()
    for split in info.splits.values():
        counts.update({k[len(prefix) :]: n for k, n in split.items() if k.startswith(prefix)})
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def require_frames(directory: StrPath, info: DatasetInfo) -> None:
    """Raises a UsageError for a directory of cached features."""
    if info.modality == FEATURES:
        raise UsageError(
            f"Expected records of frames in {directory}, received cached features of a backbone."
        )


def require_flow(directory: StrPath, info: DatasetInfo, modality: str) -> None:
    """Raises a UsageError if the modality needs optical flow and the records hold none."""
    if modality != "rgb" and info.modality != "rgb+flow":
        raise UsageError(
            f"Expected optical flow in the records of {directory} for the modality {modality}, "
            "received a data set without; build it with --flow=tvl1 or --flow=dis."
        )


def load_labels(path: StrPath) -> list[str]:
    """Reads a list of classes, one a line; the first line is id 0.

    Raises:
        UsageError: The file is missing or empty, or names a class twice.
    """
    try:
        text = to_path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Expected a file with one class a line at {path}: {error}.") from error
    labels = [line.strip() for line in text.rstrip("\n").split("\n")]
    check_labels(labels, str(path))
    return labels


def check_labels(labels: list[str], path: str) -> None:
    """Raises a UsageError unless the classes are non-empty names of one line, each given once."""
    if not labels or not all(labels):
        raise UsageError(f"Expected one class a line in {path}, received an empty name.")
    for label in labels:
        if label.splitlines() != [label.strip()]:
            raise UsageError(
                f"Expected a class on one line and without outer blanks in {path}, received "
                f"{label!r}."
            )
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise UsageError(f"Expected each class once in {path}, received {twice[0]!r} twice.")


def class_warnings(labels: Sequence[str], counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Returns a line for everything about classes and splits that makes training or scores odd.

    Args:
        labels: Class names.
        counts: Split -> label -> clips; every split is a key.
    """
    lines = []
    if len(labels) == 1:
        lines.append(f"{labels[0]!r} is the only class: there is nothing to tell it from")
    spellings: dict[str, list[str]] = {}
    for label in labels:
        key = unicodedata.normalize("NFKC", label).casefold()
        spellings.setdefault(re.sub(r"[\s_-]+", "", key), []).append(label)
    for names in spellings.values():
        if len(names) > 1:
            lines.append(f"the classes {_some(names)} differ by case, blanks or Unicode form alone")
    train = counts.get("train", {})
    unseen = [label for label in labels if not train.get(label)]
    if "train" not in counts:
        lines.append(f"no split is named 'train' but {_some(counts)}: there is nothing to train on")
    elif len(unseen) == len(labels):
        lines.append("no clip of the split 'train' has a label")
    elif unseen:
        lines.append(f"no clip of the split 'train' has the label {_some(unseen)}")
    for split, clips in counts.items():
        if split.startswith("test") and not any(clips.values()):
            lines.append(f"no clip of the split {split!r} has a label: it cannot be scored")
        meant = SPLIT_WORDS.get(split)
        if not (meant or split.startswith("test") or split in READ_SPLITS):
            meant = next(iter(difflib.get_close_matches(split, READ_SPLITS, 1, 0.7)), None)
        if meant:
            lines.append(
                f"the split {split!r} looks like {meant!r}, but under this name it is neither "
                "trained on nor tested"
            )
    return [f"Warning: {text}." for text in lines]


def _some(names: Iterable[str]) -> str:
    listed = [repr(name) for name in names]
    more = f" and {len(listed) - 20} more" if len(listed) > 20 else ""
    return ", ".join(listed[:20]) + more


def shard_name(split: str, index: int, count: int) -> str:
    """Returns the name of a shard, such as train-00000-of-00004.tfrecord."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def all_shards(directory: StrPath) -> list[AnyPath]:
    """Returns every file in a directory with the name of a shard, of any split and count."""
    paths = sorted(to_path(directory).glob("*.tfrecord"))
    return [path for path in paths if SHARD_NAME.fullmatch(path.name)]


def shard_paths(directory: StrPath, info: DatasetInfo, split: str) -> list[str]:
    """Returns the paths of a split's shards, in order.

    Raises:
        UserError: The split or one of its files is missing, or a file would crash TensorFlow.
    """
    count = info.require_split(split)["shards"]
    directory = to_path(directory)
    existing = {path.name for path in all_shards(directory)}  # one listing, not one a shard
    names = [shard_name(split, index, count) for index in range(count)]
    missing = [name for name in names if name not in existing]
    if missing:
        raise UserError(f"Expected the shard {directory / missing[0]}, received no such file.")
    if isinstance(directory, Path) and info.splits[split]["clips"] <= CHECKED_RECORDS:
        for path in map(directory.joinpath, names):
            check_lengths(str(path), path.stat().st_mtime_ns)
    return [str(directory / name) for name in names]


@functools.lru_cache(maxsize=MAX_SHARDS)
def check_lengths(path: str, changed: int = 0) -> None:
    """Raises a UserError if a record of a local shard claims a length beyond protobuf's.

    TensorFlow allocates what is claimed, and ends with a signal if that cannot be.

    Args:
        path: File, looked at once.
        changed: Time of its last change, so that another file of that name is looked at again.
    """
    with open(path, "rb") as file:
        number, end = 0, os.fstat(file.fileno()).st_size
        while file.tell() < end:
            length = int.from_bytes(file.read(8), "little")
            if length > MAX_RECORD:
                raise UserError(
                    f"Record {number} of {path} is corrupt: expected at most {MAX_RECORD:,} bytes, "
                    f"received {length:,}."
                )
            file.seek(length + 8, os.SEEK_CUR)  # and two checksums
            number += 1


def load_manifest(directory: StrPath) -> Optional[Dict[str, ShardEntry]]:
    """Reads {"records", "bytes", "sha256"} of each shard; None: an old directory has no manifest.

    Raises:
        UserError: The manifest cannot be read.
    """
    path = to_path(directory) / MANIFEST_FILE
    if not path.is_file():
        return None
    return read_json(path, Manifest)["shards"]


def load_skipped(directory: StrPath) -> list[tuple[str, str]]:
    """Reads (file, reason) of every row in skipped.csv; empty: there is no such file.

    Raises:
        UserError: The file is no such table.
    """
    path = to_path(directory) / SKIPPED_FILE
    if not path.is_file():
        return []
    try:
        table = io.StringIO(path.read_text(encoding="utf-8"), newline="")
        rows = list(csv.reader(table))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: expected a table of files and reasons ({error}).") from error
    for line, row in enumerate(rows or [[]], 1):
        if len(row) != 2 or (line == 1 and row != ["file", "reason"]):
            received = ", ".join(row)[:100] or "none"
            raise UserError(
                f"{path}, row {line}: expected the columns file, reason, received {received}."
            )
    return [(file, reason) for file, reason in rows[1:]]


def digest(directory: StrPath) -> str:
    """Returns a digest of labels and counts and, if present, the build's plan and the checksums."""
    data = to_path(directory)
    names = (INFO_FILE, PLAN_FILE, MANIFEST_FILE)
    parts = [path.read_bytes() for name in names if (path := data / name).is_file()]
    shards = sorted(data.glob("*.tfrecord"))
    parts += [f"{path.name} {file_size(path)}".encode() for path in shards]
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:16]


def test_splits(info: DatasetInfo) -> list[str]:
    """Returns the splits to evaluate: those named `test*` that have clips."""
    return [name for name in info.filled_splits if name.startswith("test")]
