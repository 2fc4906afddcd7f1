"""Writes the files of a data set directory, each atomically."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from typing import Iterable, Iterator, Mapping, Optional, Sequence, Tuple

import tensorflow as tf

from tfrecords.records import codec
from tfrecords.records.clip_pair import ClipPair
from tfrecords.records.dataset import (
    INFO_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    PLAN_FILE,
    SKIPPED_FILE,
    SPLIT_NAME,
    DatasetInfo,
    ShardEntry,
    all_shards,
    check_labels,
    class_warnings,
    shard_name,
)
from tfrecords.utils.atomic import StrPath, replacing, sha256, write_json, write_text
from tfrecords.utils.errors import UsageError
from tfrecords.utils.filesystem import to_path

__all__ = ["finish_dataset", "shard_name", "write_dataset", "write_shard"]


class Shard:
    """A shard being written; `entry`, for the manifest, is set when it is closed."""

    entry: ShardEntry

    def __init__(self, writer: tf.io.TFRecordWriter):
        self._writer = writer
        self.records = 0

    def write(self, example: bytes) -> None:
        """Adds a record."""
        self._writer.write(example)
        self.records += 1


def write_shard(path: StrPath, examples: Iterable[bytes]) -> ShardEntry:
    """Writes records in order, atomically.

    Returns the shard's entry in the manifest: records, bytes, sha256.
    """
    with _open_shard(path) as shard:
        for example in examples:
            shard.write(example)
    return shard.entry


def finish_dataset(
    directory: StrPath,
    info: DatasetInfo,
    skipped: Sequence[Tuple[str, str]] = (),
    manifest: Optional[Mapping[str, ShardEntry]] = None,
) -> None:
    """Writes labels.txt, skipped.csv, manifest.json and, last of all, dataset.json.

    Args:
        directory: Directory of the shards.
        info: Content of dataset.json; its labels become labels.txt.
        skipped: (file, reason) of every input that could not be read.
        manifest: Shard -> its entry, from `write_shard`.
    """
    directory = to_path(directory)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([("file", "reason"), *skipped])
    write_text(directory / LABELS_FILE, "".join(label + "\n" for label in info.labels))
    write_text(directory / SKIPPED_FILE, table.getvalue())
    if manifest is not None:
        write_json(directory / MANIFEST_FILE, {"shards": dict(sorted(manifest.items()))})
    write_text(directory / INFO_FILE, info.to_json())


def write_dataset(
    directory: StrPath,
    splits: Mapping[str, Iterable[ClipPair]],
    labels: Sequence[str],
    multi_label: bool = False,
    *,
    num_shards: int = 4,
    source: str = "python",
) -> DatasetInfo:
    """Writes clips as a data set, losslessly (PNG), with one record in memory at a time.

    The data set has optical flow if every clip has it (`tfrecords.build.rows.add_flow`).

    Args:
        directory: Directory to write, created if missing; replaces all splits of a data set in it.
        splits: Name ([a-z0-9_]+) -> clips, iterables that are read once.
        labels: Class names; the index in the list is the id.
        multi_label: Whether a clip may have several labels.
        num_shards: Files a split; record n goes to shard n modulo num_shards.
        source: Name of the source in dataset.json.

    Raises:
        UsageError: A label is not in `labels`, a clip has several without `multi_label`, or a
            split's name is not allowed.
    """
    directory, labels = to_path(directory), list(labels)
    check_labels(labels, "labels")
    for split in splits:
        if not SPLIT_NAME.fullmatch(split):
            raise UsageError(f"Expected a split named [a-z0-9_]+, received {split!r}.")
    directory.mkdir(parents=True, exist_ok=True)
    # Without this file the directory is unfinished, so no reader sees old and new shards mixed.
    (directory / INFO_FILE).unlink(missing_ok=True)
    (directory / PLAN_FILE).unlink(missing_ok=True)
    old = set(all_shards(directory))  # removed last: the iterables may be reading them
    label_ids = {label: index for index, label in enumerate(labels)}
    counts, rates, sizes, flows = {}, set(), set(), set()
    used = {split: Counter() for split in splits}
    manifest = {}
    for split, pairs in splits.items():
        clips = conjugates = negatives = 0
        with contextlib.ExitStack() as stack:
            paths = [directory / shard_name(split, n, num_shards) for n in range(num_shards)]
            old.difference_update(paths)
            shards = [stack.enter_context(_open_shard(path)) for path in paths]
            for clips, pair in enumerate(pairs, start=1):
                if len(pair.labels) > 1 and not multi_label:
                    raise UsageError(
                        f"Expected one label for the clip {pair.id!r} (several need multi_label), "
                        f"received {', '.join(pair.labels)}."
                    )
                example = codec.encode(pair, label_ids, image_format="PNG")
                shards[(clips - 1) % num_shards].write(example)
                conjugates += pair.conjugate is not None
                negatives += not pair.labels
                rates.add(float(pair.fps))
                sizes.add(tuple(pair.clip.shape[1:3]))
                flows.add(pair.flow is not None)
                used[split].update(pair.labels)
        manifest.update((path.name, shard.entry) for path, shard in zip(paths, shards))
        counts[split] = {
            "shards": num_shards,
            "clips": clips,
            "pairs": conjugates,
            "negatives": negatives,
            "skipped": 0,
        }
    for path in old:
        path.unlink()
    info = DatasetInfo(
        source=source,
        fps=rates.pop() if len(rates) == 1 else None,
        frame_size=list(sizes.pop()) if len(sizes) == 1 else None,
        labels=labels,
        multi_label=multi_label,
        splits=counts,
        modality="rgb+flow" if flows == {True} else "rgb",
        warnings=class_warnings(labels, used),
    )
    finish_dataset(directory, info, manifest=manifest)
    return info


@contextlib.contextmanager
def _open_shard(path: StrPath) -> Iterator[Shard]:
    with replacing(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            shard = Shard(writer)
            yield shard
        size = temporary.stat().st_size
        shard.entry = {"records": shard.records, "bytes": size, "sha256": sha256(temporary)}
