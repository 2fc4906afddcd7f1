"""Writes a data set directory: every file appears under its name whole, or not at all."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional, Sequence, Tuple

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
    """A shard being written. `entry`, of the manifest, is there when it is closed."""

    entry: Dict[str, Any]

    def __init__(self, writer: tf.io.TFRecordWriter):
        self._writer = writer
        self.records = 0

    def write(self, example: bytes) -> None:
        """Adds a record."""
        self._writer.write(example)
        self.records += 1


def write_shard(path: StrPath, examples: Iterable[bytes]) -> Dict[str, Any]:
    """Writes records in order; under a temporary name first, so that a shard is never half.

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
    manifest: Optional[Mapping[str, Mapping[str, Any]]] = None,
) -> None:
    """Writes labels.txt, skipped.csv, manifest.json and, last of all, dataset.json.

    Args:
        directory: where the shards are.
        info: what to write; its labels become labels.txt.
        skipped: (file, reason) of every input that could not be read.
        manifest: shard -> its entry, of `write_shard`.
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
    """Writes clips as a data set, without loss (PNG), one record in memory at a time.

    Where every clip has optical flow (`tfrecords.build.rows.add_flow`), the data set has.

    Args:
        directory: created where it is not; a data set there before is replaced, all its splits.
        splits: name ([a-z0-9_]+) -> clips; iterables, read once.
        labels: class names; the place in the list is the id.
        multi_label: whether a clip may have several labels.
        num_shards: files a split; record n goes to shard n modulo num_shards.
        source: noted in dataset.json.

    Raises:
        UsageError: a label is not in `labels`, a clip has several without `multi_label`, or a
            split's name is not allowed.
    """
    directory, labels = to_path(directory), list(labels)
    check_labels(labels, "labels")
    for split in splits:
        if not SPLIT_NAME.fullmatch(split):
            raise UsageError(f"Expected a split named [a-z0-9_]+, received {split!r}.")
    directory.mkdir(parents=True, exist_ok=True)
    # Without this file the directory is unfinished: a reader never sees old and new shards mixed.
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
