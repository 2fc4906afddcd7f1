"""Writes rows as shards: shard i of n holds the rows i, i + n, ... of its split, in order.

    DIR/.build/SHARD.json   notes of a finished shard: its counts and its entry of the manifest

A shard without its notes is written again. Its bytes do not depend on who writes it, when and in
what order, on a thread of this machine or on a cluster (`tfrecords.build.beam`).
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import (
    TYPE_CHECKING,
    Annotated,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Union,
)

from tfrecords.build.plan import PROGRESS
from tfrecords.build.rows import Record, record_bytes
from tfrecords.records import dataset, names
from tfrecords.records.dataset import Count, ShardEntry, Side
from tfrecords.utils import atomic
from tfrecords.utils.errors import UserError, raise_if_machine
from tfrecords.utils.filesystem import AnyPath
from tfrecords.utils.json_files import Limits, read_json
from tfrecords.utils.progress import progress
from tfrecords.utils.remote.shards import read_records

if TYPE_CHECKING:
    from tfrecords.sources import Row, Source

ROWS_PER_SHARD = 128

Omitted = Annotated[List[Union[int, str]], Limits(3, 3)]  # line, file, reason
Outcome = Union[Record, str]  # record of a row, or the reason why it was left out


class Shard(NamedTuple):
    """A file to write: its position among the shards of its split, and its rows."""

    split: str
    index: int
    count: int
    rows: list[Row]

    @property
    def name(self) -> str:
        """Name of the file."""
        return dataset.shard_name(self.split, self.index, self.count)


@dataclass
class Notes:
    """Notes of a finished shard, the content of its file in the order of its fields.

    Attributes:
        clips, pairs, negatives, decoys: Counts of records, as in `DatasetInfo`.
        fps: Frame rates that occur.
        sizes: [height, width] that occur.
        skipped: [line, file, reason] of every row left out.
        manifest: Entry of the shard in the manifest.
        lost: [line, file, reason] of every conjugate that is missing though it was planned.
        labels: Label -> clips.
        kinds: Origin of conjugates -> records, where each clip has its own.
        masks: Origin of masks -> records, where records say it.
    """

    clips: Count = 0
    pairs: Count = 0
    negatives: Count = 0
    decoys: Count = 0
    fps: List[float] = field(default_factory=list)
    sizes: List[Annotated[List[Side], Limits(2, 2)]] = field(default_factory=list)
    skipped: List[Omitted] = field(default_factory=list)
    manifest: ShardEntry = field(default_factory=lambda: ShardEntry(records=0, bytes=0, sha256=""))
    lost: List[Omitted] = field(default_factory=list)
    labels: Dict[str, Count] = field(default_factory=dict)
    kinds: Dict[str, Count] = field(default_factory=dict)
    masks: Dict[str, Count] = field(default_factory=dict)

    def count(self, labels: Iterable[str], record: Record) -> None:
        """Counts a record with these labels."""
        self.pairs += record.paired
        self.negatives += record.negative
        self.decoys += record.decoy
        for label in labels:
            self.labels[label] = self.labels.get(label, 0) + 1
        for origins, name in ((self.kinds, record.kind), (self.masks, record.mask_origin)):
            if name:
                origins[name] = origins.get(name, 0) + 1
        if record.fps not in self.fps:
            self.fps.append(record.fps)
        if list(record.size) not in self.sizes:
            self.sizes.append(list(record.size))


def list_shards(rows: Iterable[Row], num_shards: int) -> list[Shard]:
    """Lists the shards of all splits, `num_shards` each; 0: one for each `ROWS_PER_SHARD` rows."""
    splits: dict[str, list[Row]] = {}
    for row in rows:
        splits.setdefault(row.split, []).append(row)
    shards = []
    for split, members in splits.items():
        count = num_shards or -(-len(members) // ROWS_PER_SHARD)
        shards += [Shard(split, index, count, members[index::count]) for index in range(count)]
    return shards


def list_missing(directory: AnyPath, shards: Iterable[Shard]) -> list[Shard]:
    """Lists the shards that are still to be written."""
    written = {path.name for path in dataset.all_shards(directory)}
    noted = {path.name for path in (directory / PROGRESS).glob("*.json")}
    return [s for s in shards if s.name not in written or f"{s.name}.json" not in noted]


def write_all(
    source: Source, directory: AnyPath, shards: list[Shard], quality: int, workers: int
) -> None:
    """Writes every missing shard, in order, decoding rows ahead on threads.

    Codecs release the GIL, so a thread pool uses all cores; at most `2 * workers` records wait in
    memory.
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
    skipped = {file for file, _ in dataset.load_skipped(directory)}
    info, manifest = dataset.load_info(directory), dataset.load_manifest(directory) or {}
    if not skipped:
        return
    for shard in shards:
        if shard.name in manifest and skipped.isdisjoint(row.media for row in shard.rows):
            notes = _notes_of(directory / shard.name, info.fps)
            notes.manifest = manifest[shard.name]
            notes.clips = notes.manifest["records"]
            atomic.write_json(_notes_file(directory, shard), asdict(notes))
    atomic.write_json(directory / dataset.PLAN_FILE, plan)
    (directory / dataset.INFO_FILE).unlink()


def _notes_of(path: AnyPath, fps: Optional[float]) -> Notes:
    """Returns the notes of a shard of which no row was left out; `fps`: the rate of all records."""
    import tensorflow as tf

    notes = Notes()
    for data in read_records(str(path)).as_numpy_iterator():
        example = tf.train.SequenceExample.FromString(data)
        context = example.context.feature
        labels = [text.decode() for text in context[names.LABEL_STRING].bytes_list.value]
        paired = names.CONJUGATE + names.FRAMES in example.feature_lists.feature_list
        rate = fps or context[names.FRAME_RATE].float_list.value[0]
        size = tuple(context[side].int64_list.value[0] for side in (names.HEIGHT, names.WIDTH))
        decoy = names.DECOY in context
        kind, origin = (
            b"".join(context[name].bytes_list.value).decode()
            for name in (names.CONJUGATE_KIND, names.MASK_ORIGIN)
        )
        notes.count(
            labels,
            Record(b"", paired, not labels, rate, size, decoy, kind=kind, mask_origin=origin),
        )
    return notes


def prepare_process() -> None:
    """Prepares a process for decoding rows."""
    import cv2

    cv2.setNumThreads(1)  # rows are decoded in parallel already


def write_one(
    directory: AnyPath,
    shard: Shard,
    outcomes: Iterator[Outcome],
    tick: Callable[[], object] = lambda: None,
) -> None:
    """Writes a shard and its notes.

    Args:
        directory: Data set directory.
        shard: Shard to write.
        outcomes: Outcomes of its rows first, in order; no others are taken.
        tick: Function called for every row; does nothing by default.
    """
    from tfrecords.records import writer

    notes = Notes()
    records = _records(outcomes, shard.rows, notes, tick)
    notes.manifest = writer.write_shard(directory / shard.name, records)
    notes.clips = notes.manifest["records"]
    # After the shard: a shard without its notes is written again.
    atomic.write_json(_notes_file(directory, shard), asdict(notes))


def outcome(source: Source, row: Row, quality: int) -> Outcome:
    """Returns a row's record, or the reason why it is left out."""
    from tfrecords.media.video import UnreadableError

    try:
        return record_bytes(source, row, quality)
    except UnreadableError as error:
        return error.reason
    except UserError:
        raise
    except Exception as error:
        raise_if_machine(error, row.media)
        # A file so odd that nothing foresaw it must not stop the build of the other rows.
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        return f"{kind}: {' '.join(str(error).split())}"


class Summary(NamedTuple):
    """Summary of all shards' notes.

    Attributes:
        splits: Counts of each split, as in `DatasetInfo`.
        rates: Frame rates that occur.
        sizes: (height, width) that occur.
        skipped: (file, reason) of every row left out, in the order of the input.
        lost: (file, reason) of every conjugate lost, in the order of the input.
        manifest: Shard -> its entry in the manifest.
        labels: Split -> label -> clips.
    """

    splits: dict[str, dict[str, int]]
    rates: set[float]
    sizes: set[tuple[int, int]]
    skipped: list[tuple[str, str]]
    lost: list[tuple[str, str]]
    manifest: dict[str, ShardEntry]
    labels: dict[str, dict[str, int]]


def sum_up(directory: AnyPath, shards: Iterable[Shard]) -> Summary:
    """Reads the notes of all shards.

    Raises:
        UserError: The notes of a shard are missing.
    """
    splits, rates, sizes, manifest, labels = {}, set(), set(), {}, {}
    skipped, lost = [], []
    for shard in shards:
        file = _notes_file(directory, shard)
        if not file.is_file():
            raise UserError(
                f"Expected the shard {directory / shard.name} to be written, received none."
            )
        notes = read_json(file, Notes)
        empty = {"shards": shard.count, "clips": 0, "pairs": 0, "negatives": 0, "skipped": 0}
        counts = splits.setdefault(shard.split, empty)
        counts["clips"] += notes.clips
        counts["pairs"] += notes.pairs
        counts["negatives"] += notes.negatives
        counts["skipped"] += len(notes.skipped)
        if notes.decoys:  # a count that few data sets have
            counts["decoys"] = counts.get("decoys", 0) + notes.decoys
        for what, origins in (("pairs", notes.kinds), ("masks", notes.masks)):
            for name, count in sorted(origins.items()):
                counts[f"{what}_{name}"] = counts.get(f"{what}_{name}", 0) + count
        rates.update(notes.fps)
        sizes.update(map(tuple, notes.sizes))
        skipped += notes.skipped
        lost += notes.lost
        members = labels.setdefault(shard.split, {})
        for label, count in notes.labels.items():
            members[label] = members.get(label, 0) + count
        manifest[shard.name] = notes.manifest
    reasons, without = (
        [(file, reason) for _, file, reason in sorted(entries)] for entries in (skipped, lost)
    )
    return Summary(splits, rates, sizes, reasons, without, manifest, labels)


def _in_order(
    pool: ThreadPoolExecutor, source: Source, rows: Iterable[Row], quality: int, ahead: int
) -> Iterator[Outcome]:
    """Yields the outcome of each row, in order; holds at most `ahead` in memory."""
    waiting: deque = deque()
    for row in rows:
        waiting.append(pool.submit(outcome, source, row, quality))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _records(
    outcomes: Iterator[Outcome], rows: list[Row], notes: Notes, tick: Callable[[], object]
) -> Iterator[bytes]:
    """Yields the records of one shard; notes their kinds and the rows that were left out."""
    for row in rows:
        record = next(outcomes)
        tick()
        if isinstance(record, str):
            notes.skipped.append([row.line, row.media, record])
            continue
        if record.lost:
            notes.lost.append([row.line, row.media, record.lost])
        notes.count(row.labels, record)
        yield record.data


def _notes_file(directory: AnyPath, shard: Shard) -> AnyPath:
    return directory / PROGRESS / f"{shard.name}.json"
