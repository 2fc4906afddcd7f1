"""Verifies a data set: reads and checks every record and the checksum of every shard."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Optional

import tensorflow as tf

from tfrecords.records import codec, dataset, feature_codec
from tfrecords.records.clip_pair import ClipPair
from tfrecords.records.dataset import DatasetInfo
from tfrecords.records.names import (
    CONJUGATE,
    DECOY,
    EXAMPLE_ID,
    FLOW_FRAMES,
    FRAMES,
    HEIGHT,
    LABEL_INDEX,
    LABEL_STRING,
    MASKS,
    MEDIA_ID,
    TIMESTAMPS,
    WIDTH,
)
from tfrecords.utils import atomic
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UserError
from tfrecords.utils.filesystem import AnyPath, to_path
from tfrecords.utils.progress import progress

IMAGES = (
    FRAMES,
    CONJUGATE + FRAMES,
    MASKS,
    FLOW_FRAMES,
    CONJUGATE + FLOW_FRAMES,
)


class _Found(NamedTuple):
    """The content of a shard."""

    ids: list[str]
    pairs: int
    negatives: int
    decoys: int
    images: int


class _Record(NamedTuple):
    id: str
    paired: bool
    negative: bool
    decoy: bool
    images: int


def verify(directory: StrPath) -> str:
    """Verifies checksum, number, images, label ids, masks and times of every shard and record.

    Returns:
        One line about what was read.

    Raises:
        UserError: Something is wrong with a shard or record; names the first.
    """
    info, manifest = dataset.load_info(directory), dataset.load_manifest(directory)
    names = [name for name, counts in info.splits.items() if counts["clips"]]
    shards = [(n, to_path(path)) for n in names for path in dataset.shard_paths(directory, info, n)]
    keys = ("clips", "pairs", "negatives", "decoys")
    counts = {name: dict.fromkeys(keys, 0) for name in names}
    ids: set[str] = set()
    images = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def check(shard: tuple[str, AnyPath]) -> _Found:
            return _check_shard(shard[1], info, manifest)

        checked = pool.map(check, shards)
        try:
            for split, path in progress(shards, desc="verify", unit="shard", leave=False):
                found = next(checked)
                for name in found.ids:
                    if name in ids:
                        raise UserError(f"{path}: the id {name!r} stands twice in the data set.")
                    ids.add(name)
                counts[split]["clips"] += len(found.ids)
                counts[split]["pairs"] += found.pairs
                counts[split]["negatives"] += found.negatives
                counts[split]["decoys"] += found.decoys
                images += found.images
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    for split, sums in counts.items():
        for key, value in sums.items():
            expected = info.splits[split].get(key, value)
            if value != expected:
                raise UserError(
                    f"Expected {expected} {key} in split {split!r} as {dataset.INFO_FILE} in "
                    f"{directory} says, received {value}."
                )
    records = sum(sums["clips"] for sums in counts.values())
    checksums = "checksums agree" if manifest else f"no {dataset.MANIFEST_FILE}, no checksums"
    return f"{directory}: {records} records in {len(shards)} shards, {images} images: {checksums}."


def _check_shard(path: AnyPath, info: DatasetInfo, manifest: Optional[dict]) -> _Found:
    entry = None
    if manifest is not None:
        entry = manifest.get(path.name)
        if entry is None:
            raise UserError(f"{path} is not in {dataset.MANIFEST_FILE}.")
    ids, pairs, negatives, decoys, images = [], 0, 0, 0, 0
    try:
        for serialized in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            record = _check_record(serialized, info)
            ids.append(record.id)
            pairs += record.paired
            negatives += record.negative
            decoys += record.decoy
            images += record.images
    except (UserError, tf.errors.OpError) as error:
        damaged = isinstance(error, tf.errors.DataLossError)
        reason = "the file is damaged" if damaged else str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{path}, record {len(ids)}: {reason}.") from error
    if entry is not None and len(ids) != entry["records"]:
        raise UserError(f"{path}: expected {entry['records']} records, received {len(ids)}.")
    # Last, since a record that cannot be read says more than a checksum that differs.
    if entry is not None and atomic.sha256(str(path)) != entry["sha256"]:
        raise UserError(f"{path}: the checksum is not that of {dataset.MANIFEST_FILE}.")
    return _Found(ids, pairs, negatives, decoys, images)


def _check_record(serialized: bytes, info: DatasetInfo) -> _Record:
    """Returns the kind of a record; UserError if something is wrong with it."""
    of_features = info.modality == dataset.FEATURES
    # Shapes and dtypes, the mask's length, boxes, optical flow; or the sizes of maps.
    decoded = (feature_codec.decode_features if of_features else codec.decode)(serialized)
    example = tf.train.SequenceExample.FromString(serialized)
    context, lists = example.context.feature, example.feature_lists.feature_list
    index = list(context[LABEL_INDEX].int64_list.value)
    names = [value.decode() for value in context[LABEL_STRING].bytes_list.value]
    outside = [number for number in index if not 0 <= number < len(info.labels)]
    if outside:
        raise UserError(f"expected label ids below {len(info.labels)}, received {outside[0]}")
    if [info.labels[number] for number in index] != names:
        raise UserError(f"label ids {index} are not {', '.join(names)} in {dataset.LABELS_FILE}")
    if len(index) > 1 and not info.multi_label:
        raise UserError(f"expected one label, received {len(index)}")
    if of_features:
        paired = CONJUGATE + MEDIA_ID in context
    else:
        _check_frames(decoded, example, info)
        paired = decoded.conjugate is not None
    count = 0
    for name in IMAGES:
        for feature in lists[name].feature if name in lists else ():
            # OpenCV completes a truncated image; the reader's decoder refuses it.
            tf.io.decode_image(feature.bytes_list.value[0], expand_animations=False)
            count += 1
    name = context[EXAMPLE_ID].bytes_list.value[0].decode()
    return _Record(name, paired, not index, DECOY in context, count)


def _check_frames(pair: ClipPair, example: tf.train.SequenceExample, info: DatasetInfo) -> None:
    context, lists = example.context.feature, example.feature_lists.feature_list
    size = [context[name].int64_list.value[0] for name in (HEIGHT, WIDTH)]
    if list(pair.clip.shape[1:3]) != size:
        raise UserError(f"expected frames of {size}, received {list(pair.clip.shape[1:3])}")
    if info.modality == "rgb+flow" and pair.flow is None:
        raise UserError(f"no optical flow, which {dataset.INFO_FILE} names")
    times = len(lists[TIMESTAMPS].feature)
    if times != len(pair.clip):
        raise UserError(f"{len(pair.clip)} frames have {times} timestamps")
