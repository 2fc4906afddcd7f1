"""Describes the content of a data set directory as text."""

from __future__ import annotations

from collections import Counter
from typing import Optional, Sequence

from tfrecords.records import dataset, names
from tfrecords.utils.errors import UsageError
from tfrecords.utils.filesystem import file_size, to_path
from tfrecords.utils.remote.shards import read_records

# Labels are counted by reading every record; beyond this size that would take minutes.
COUNT_BYTES = 8 << 30
SKIPPED_LINES = 10


def describe(directory: str, split: Optional[str] = None, record: int = 0) -> str:
    """Returns the content of a data set directory as text.

    Raises:
        UserError: The directory is not a data set, or has no such record.
    """
    info = dataset.load_info(directory)
    split = split or next(iter(info.filled_splits), "")
    info.require_split(split)
    blocks = [
        _head(directory, info),
        _splits(info),
        _classes(directory, info),
        _skipped(directory),
        _record(directory, info, split, record),
    ]
    return "\n\n".join(block for block in blocks if block)


def _head(directory: str, info: dataset.DatasetInfo) -> str:
    size = " x ".join(map(str, info.frame_size[::-1])) if info.frame_size else "of several sizes"
    rate = f"{info.fps:g} frames/s" if info.fps else "several frame rates"
    kind = "several labels a clip" if info.multi_label else "one label a clip"
    return (
        f"{directory}\n  source {info.source}, {info.modality} frames {size}, {rate}, "
        f"{len(info.labels)} classes, {kind}, schema version {info.schema_version}"
    )


def _splits(info: dataset.DatasetInfo) -> str:
    rows: list[tuple] = [("split", "clips", "pairs", "skipped", "shards")]
    for name, counts in info.splits.items():
        rows.append((name, *(counts.get(key, 0) for key in rows[0][1:])))
    origins = dataset.mask_origins(info)
    return table(rows) + (f"\n  masks: {origins}" if origins else "")


def _classes(directory: str, info: dataset.DatasetInfo) -> str:
    """Lists the clips a class and split; only the names if counting would take too long."""
    splits = info.filled_splits
    paths = {name: dataset.shard_paths(directory, info, name) for name in splits}
    size = sum(file_size(to_path(path)) for shards in paths.values() for path in shards)
    rows: list[tuple] = [("id", "class")]
    if size > COUNT_BYTES:
        return table(rows + list(enumerate(info.labels)))
    counts = {
        name: _count_labels(directory, shards, len(info.labels)) for name, shards in paths.items()
    }
    rows = [("id", "class", *splits)]
    for index, label in enumerate(info.labels):
        rows.append((index, label, *(counts[name][index] for name in splits)))
    if any(count[None] for count in counts.values()):
        rows.append(("", "(no action)", *(counts[name][None] for name in splits)))
    return table(rows)


def _count_labels(directory: str, paths: list[str], classes: int) -> Counter:
    """Counts clips by label id; None: clips without a label."""
    import tensorflow as tf

    from tfrecords.records import codec
    from tfrecords.records.checking import check_records

    clips: Counter = Counter()
    records = read_records(paths)
    labels = records.map(lambda record: codec.parse(record, masks=False, streams=())["labels"])
    try:
        for ids in labels.as_numpy_iterator():
            clips.update(ids.tolist() or [None])
    except tf.errors.OpError:
        check_records(directory)
        raise
    if any(not 0 <= number < classes for number in clips if number is not None):
        check_records(directory)
    return clips


def _skipped(directory: str) -> str:
    rows = dataset.load_skipped(directory)
    if not rows:
        return ""
    more = len(rows) - SKIPPED_LINES
    shown = [("skipped", "reason"), *rows[:SKIPPED_LINES]]
    return table(shown) + (f"\n  ... and {more} more in {dataset.SKIPPED_FILE}" if more > 0 else "")


def _record(directory: str, info: dataset.DatasetInfo, split: str, number: int) -> str:
    import tensorflow as tf

    from tfrecords.records import checking

    path = dataset.shard_paths(directory, info, split)[0]
    serialized = next((data for n, data in checking.read_shard(path) if n == number), None)
    if serialized is None:
        raise UsageError(f"Expected --record among those of {path}, received {number}.")
    with checking.naming(path, number):
        checking.check_record(serialized, info, split, checking.load_both(directory)[1])
    example = tf.train.SequenceExample.FromString(serialized)
    rows = [("feature", "values")]
    for name in sorted(example.context.feature):
        rows.append((name, _values(example.context.feature[name])))
    for name in sorted(example.feature_lists.feature_list):
        items = example.feature_lists.feature_list[name].feature
        sizes = [len(value) for item in items for value in item.bytes_list.value]
        what = f"{sum(sizes):,} bytes" if sizes else f"{_values(items[0])} ... {_values(items[-1])}"
        rows.append((name, f"{len(items)} x, {what}"))
    shapes = _maps(serialized) if info.modality == dataset.FEATURES else _frames(serialized)
    title = f"Record {number} of {to_path(path).name}, {len(serialized):,} bytes: "
    return title + "; ".join(shapes) + "\n" + table(rows)


def _frames(serialized: bytes) -> list[str]:
    """Describes the content of a record of frames."""
    import numpy as np

    from tfrecords.media import flow
    from tfrecords.records import codec

    pair = codec.decode(serialized)
    length, height, width, _ = pair.clip.shape
    place = f"{pair.start:.2f} to {pair.end:.2f} s" + (f" of {pair.media_id}" * bool(pair.media_id))
    shapes = [
        f"{width} x {height} pixels, {length / pair.fps:.2f} s at {pair.fps:g} frames/s, {place}",
        f"clip {pair.clip.shape}" + " with a decoy" * pair.decoy,
    ]
    if pair.conjugate is not None:
        shapes.append(f"conjugate {pair.conjugate.shape}")
    if pair.mask is not None:
        origin = pair.mask_origin or names.ANNOTATED
        shapes.append(f"mask {pair.mask.shape}, {pair.mask.mean():.1%} actor, {origin}")
    if pair.boxes is not None:
        shapes.append(f"boxes {', '.join(map(_box, pair.boxes))}")
    if pair.flow is not None:
        speed = np.linalg.norm(flow.dequantize(pair.flow), axis=-1).mean()
        shapes.append(f"flow {pair.flow.shape}, {speed:.2f} pixels a frame")
    return shapes


def _maps(serialized: bytes) -> list[str]:
    """Describes the content of a record of cached features."""
    from tfrecords.records import feature_codec
    from tfrecords.records.names import MAPS

    shapes = []
    for name, maps in feature_codec.decode_features(serialized).items():
        views = [values.shape for values in maps if values is not None]
        what = f"{len(views)} of {len(maps)} views {views[0] if views else ''}"
        shapes.append(f"{name.removesuffix(MAPS)} {what}".rstrip())
    return shapes


def _box(edges: Sequence[float]) -> str:
    sides = ("xmin", "ymin", "xmax", "ymax")
    return " ".join(f"{name} {edge:.3f}" for name, edge in zip(sides, edges))


def _values(feature) -> str:
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else []
    texts = (value.decode(errors="replace") if kind == "bytes_list" else value for value in values)
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in texts)


def table(rows: Sequence[Sequence]) -> str:
    """Aligns columns under the first row, numbers to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts)]
    right = [all(isinstance(row[n], int) for row in rows[1:]) for n in range(len(widths))]
    lines = []
    for row in texts:
        cells = [
            cell.rjust(width) if at_right else cell.ljust(width)
            for cell, width, at_right in zip(row, widths, right)
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)
