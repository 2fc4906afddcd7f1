"""From rows to shards: shard i of n holds the rows i, i + n, ... of its split, in their order.

    DIR/.build/SHARD.json   notes of a finished shard: its counts and its entry of the manifest

A shard is there with its notes or is written again. Who writes it, when and in what order, on a
thread of this machine or on a cluster (`tfrecords.build.beam`), does not show in its bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Callable, Iterable, Iterator, NamedTuple, Optional, Union

from tfrecords.build.plan import PROGRESS
from tfrecords.build.rows import Record, record_bytes
from tfrecords.records import dataset, names
from tfrecords.utils import atomic
from tfrecords.utils.errors import UserError, raise_if_machine
from tfrecords.utils.filesystem import AnyPath
from tfrecords.utils.progress import progress

if TYPE_CHECKING:
    from tfrecords.sources import Row, Source

ROWS_PER_SHARD = 128

Outcome = Union[Record, str]  # of a row: its record, or why it was left out


class Shard(NamedTuple):
    """A file to be: its place among the shards of its split, and its rows."""

    split: str
    index: int
    count: int
    rows: list[Row]

    @property
    def name(self) -> str:
        """Of the file."""
        return dataset.shard_name(self.split, self.index, self.count)


def list_shards(rows: Iterable[Row], num_shards: int) -> list[Shard]:
    """The shards of all splits; `num_shards` a split, 0: one for each `ROWS_PER_SHARD` rows."""
    splits: dict[str, list[Row]] = {}
    for row in rows:
        splits.setdefault(row.split, []).append(row)
    shards = []
    for split, members in splits.items():
        count = num_shards or -(-len(members) // ROWS_PER_SHARD)
        shards += [Shard(split, index, count, members[index::count]) for index in range(count)]
    return shards


def list_missing(directory: AnyPath, shards: Iterable[Shard]) -> list[Shard]:
    """The shards that are still to be written."""
    there = {path.name for path in dataset.all_shards(directory)}
    noted = {path.name for path in (directory / PROGRESS).glob("*.json")}
    return [s for s in shards if s.name not in there or f"{s.name}.json" not in noted]


def write_all(
    source: Source, directory: AnyPath, shards: list[Shard], quality: int, workers: int
) -> None:
    """Writes every shard that is not there yet, in order, decoding rows ahead on threads.

    Decoders and encoders let go of Python's lock, so threads use all cores; no more than
    `2 * workers` records wait in memory.
    """
    missing = list_missing(directory, shards)
    total = sum(len(shard.rows) for shard in shards)
    todo = [row for shard in missing for row in shard.rows]
    prepare_process()
    pool = ThreadPoolExecutor(workers)
    with progress(total=total, initial=total - len(todo), unit="clip", desc=directory.name) as bar:
        try:
            outcomes = _in_order(pool, source, todo, quality, ahead=2 * workers)
            for shard in missing:
                write_one(directory, shard, outcomes, bar.update)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def reopen(directory: AnyPath, shards: Iterable[Shard], plan: dict) -> None:
    """Makes a finished build unfinished: shards of files named in skipped.csv are to be written.

    The others are kept; their notes are made anew from their records.
    """
    text = (directory / dataset.SKIPPED_FILE).read_text(encoding="utf-8")
    skipped = {row["file"] for row in csv.DictReader(io.StringIO(text))}
    info, manifest = dataset.load_info(directory), dataset.load_manifest(directory) or {}
    if not skipped:
        return
    for shard in shards:
        if shard.name in manifest and skipped.isdisjoint(row.media for row in shard.rows):
            notes = _notes_of(directory / shard.name, info.fps)
            notes.update(manifest=manifest[shard.name], clips=manifest[shard.name]["records"])
            atomic.write_json(_notes(directory, shard), notes)
    atomic.write_json(directory / dataset.PLAN_FILE, plan)
    (directory / dataset.INFO_FILE).unlink()


def _notes_of(path: AnyPath, fps: Optional[float]) -> dict:
    """Makes the notes of a shard of which no row was left out; `fps`: the rate of all records."""
    import tensorflow as tf

    notes = _empty_notes()
    for data in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        example = tf.train.SequenceExample.FromString(data)
        context = example.context.feature
        labels = [text.decode() for text in context[names.LABEL_STRING].bytes_list.value]
        paired = names.CONJUGATE + names.FRAMES in example.feature_lists.feature_list
        rate = fps or context[names.FRAME_RATE].float_list.value[0]
        size = tuple(context[side].int64_list.value[0] for side in (names.HEIGHT, names.WIDTH))
        _count(notes, labels, Record(b"", paired, not labels, rate, size, names.DECOY in context))
    return notes


def prepare_process() -> None:
    """What a process that decodes rows does first."""
    import cv2

    cv2.setNumThreads(1)  # rows run side by side already


def write_one(
    directory: AnyPath,
    shard: Shard,
    outcomes: Iterator[Outcome],
    tick: Callable[[], object] = lambda: None,
) -> None:
    """Writes a shard and its notes.

    Args:
        directory: of the data set.
        shard: which.
        outcomes: what becomes of its rows, in their order; no more than these are taken.
        tick: called for every row.
    """
    from tfrecords.records import writer

    notes = _empty_notes()
    records = _records(outcomes, shard.rows, notes, tick)
    notes["manifest"] = writer.write_shard(directory / shard.name, records)
    notes["clips"] = notes["manifest"]["records"]
    # After the shard: a shard without its notes is written again.
    atomic.write_json(_notes(directory, shard), notes)


def outcome(source: Source, row: Row, quality: int) -> Outcome:
    """A row's record, or why there is none."""
    from tfrecords.media.video import UnreadableError

    try:
        return record_bytes(source, row, quality)
    except UnreadableError as error:
        return error.reason
    except UserError:
        raise
    except Exception as error:
        raise_if_machine(error, row.media)
        # Of a file so odd that nothing foresaw it: the other rows are still worth building.
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        return f"{kind}: {' '.join(str(error).split())}"


class Summary(NamedTuple):
    """All shards' notes in one.

    splits: as in `DatasetInfo`; rates and sizes that occur; (file, reason) of every row left out
    and of every conjugate lost, in the order of the input; manifest: shard -> its entry; labels:
    split -> label -> clips.
    """

    splits: dict[str, dict[str, int]]
    rates: set[float]
    sizes: set[tuple[int, int]]
    skipped: list[tuple[str, str]]
    lost: list[tuple[str, str]]
    manifest: dict[str, dict]
    labels: dict[str, dict[str, int]]


def sum_up(directory: AnyPath, shards: Iterable[Shard]) -> Summary:
    """Reads the notes of all shards.

    Raises:
        UserError: those of a shard are not there.
    """
    splits, rates, sizes, manifest, labels = {}, set(), set(), {}, {}
    skipped, lost = [], []
    for shard in shards:
        try:
            notes = json.loads(_notes(directory, shard).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(
                f"Expected the shard {directory / shard.name} to be written, received none."
            ) from error
        empty = {"shards": shard.count, "clips": 0, "pairs": 0, "negatives": 0, "skipped": 0}
        counts = splits.setdefault(shard.split, empty)
        for key in ("clips", "pairs", "negatives"):
            counts[key] += notes[key]
        if notes.get("decoys"):  # a count that few data sets have; notes of older builds do not
            counts["decoys"] = counts.get("decoys", 0) + notes["decoys"]
        counts["skipped"] += len(notes["skipped"])
        rates.update(notes["fps"])
        sizes.update(map(tuple, notes["sizes"]))
        skipped += notes["skipped"]
        lost += notes.get("lost", [])
        members = labels.setdefault(shard.split, {})
        for label, count in notes.get("labels", {}).items():
            members[label] = members.get(label, 0) + count
        manifest[shard.name] = notes["manifest"]
    reasons, without = (
        [(file, reason) for _, file, reason in sorted(entries)] for entries in (skipped, lost)
    )
    return Summary(splits, rates, sizes, reasons, without, manifest, labels)


def _in_order(
    pool: ThreadPoolExecutor, source: Source, rows: Iterable[Row], quality: int, ahead: int
) -> Iterator[Outcome]:
    """What becomes of each row, in the order of the rows; at most `ahead` are held in memory."""
    waiting: deque = deque()
    for row in rows:
        waiting.append(pool.submit(outcome, source, row, quality))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _records(
    outcomes: Iterator[Outcome], rows: list[Row], notes: dict, tick: Callable[[], object]
) -> Iterator[bytes]:
    """Records of one shard; notes what they are and which rows were left out."""
    for row in rows:
        found = next(outcomes)
        tick()
        if isinstance(found, str):
            notes["skipped"].append([row.line, row.media, found])
            continue
        if found.lost:
            notes["lost"].append([row.line, row.media, found.lost])
        _count(notes, row.labels, found)
        yield found.data


def _empty_notes() -> dict:
    notes = dict.fromkeys(("clips", "pairs", "negatives", "decoys"), 0)
    return {**notes, "fps": [], "sizes": [], "skipped": [], "lost": [], "labels": {}}


def _count(notes: dict, labels: Iterable[str], record: Record) -> None:
    notes["pairs"] += record.paired
    notes["negatives"] += record.negative
    notes["decoys"] += record.decoy
    for label in labels:
        notes["labels"][label] = notes["labels"].get(label, 0) + 1
    for key, value in (("fps", record.fps), ("sizes", list(record.size))):
        if value not in notes[key]:
            notes[key].append(value)


def _notes(directory: AnyPath, shard: Shard) -> AnyPath:
    return directory / PROGRESS / f"{shard.name}.json"
