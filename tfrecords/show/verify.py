"""Verifies a data set: reads and checks every record and the checksum of every shard."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Optional

import tensorflow as tf

from tfrecords.records import codec, dataset, feature_codec, names
from tfrecords.records.clip_pair import ClipPair
from tfrecords.records.dataset import DatasetInfo
from tfrecords.utils import atomic
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UserError
from tfrecords.utils.filesystem import AnyPath, to_path
from tfrecords.utils.progress import progress

IMAGES = (
    names.FRAMES,
    names.CONJUGATE + names.FRAMES,
    names.MASKS,
    names.FLOW_FRAMES,
    names.CONJUGATE + names.FLOW_FRAMES,
)


def verify(directory: StrPath) -> str:
    """Verifies checksum, number, images, label ids, masks and times of every shard and record.

    Returns:
        One line about what was read.

    Raises:
        UserError: Something is wrong with a shard or record; names the first.
    """
    info, manifest = dataset.load_info(directory), dataset.load_manifest(directory)
    counts = {name: Counter() for name in info.filled_splits}
    shards = [
        (n, to_path(path)) for n in counts for path in dataset.shard_paths(directory, info, n)
    ]
    ids: set[str] = set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def check(shard: tuple[str, AnyPath]) -> tuple[list[str], Counter]:
            return _check_shard(shard[1], info, manifest)

        checked = pool.map(check, shards)
        try:
            for split, path in progress(shards, desc="verify", unit="shard", leave=False):
                shard_ids, shard_counts = next(checked)
                for name in shard_ids:
                    if name in ids:
                        raise UserError(f"{path}: the id {name!r} stands twice in the data set.")
                    ids.add(name)
                counts[split] += shard_counts
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    for split, sums in counts.items():
        for key in ("clips", "pairs", "negatives", "decoys"):
            expected = info.splits[split].get(key, sums[key])
            if sums[key] != expected:
                raise UserError(
                    f"Expected {expected} {key} in split {split!r} as {dataset.INFO_FILE} in "
                    f"{directory} says, received {sums[key]}."
                )
    images = sum(sums["images"] for sums in counts.values())
    checksums = "checksums agree" if manifest else f"no {dataset.MANIFEST_FILE}, no checksums"
    return f"{directory}: {len(ids)} records in {len(shards)} shards, {images} images: {checksums}."


def _check_shard(
    path: AnyPath, info: DatasetInfo, manifest: Optional[dict]
) -> tuple[list[str], Counter]:
    """Returns the ids and counts of a shard's records; UserError if something is wrong."""
    entry = None
    if manifest is not None:
        entry = manifest.get(path.name)
        if entry is None:
            raise UserError(f"{path} is not in {dataset.MANIFEST_FILE}.")
    ids: list[str] = []
    counts: Counter = Counter()
    try:
        for serialized in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            name, record_counts = _check_record(serialized, info)
            ids.append(name)
            counts += record_counts
    except (UserError, tf.errors.OpError) as error:
        damaged = isinstance(error, tf.errors.DataLossError)
        reason = "the file is damaged" if damaged else str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{path}, record {len(ids)}: {reason}.") from error
    if entry is not None and len(ids) != entry["records"]:
        raise UserError(f"{path}: expected {entry['records']} records, received {len(ids)}.")
    # Last, since a record that cannot be read says more than a checksum that differs.
    if entry is not None and atomic.sha256(str(path)) != entry["sha256"]:
        raise UserError(f"{path}: the checksum is not that of {dataset.MANIFEST_FILE}.")
    return ids, counts


def _check_record(serialized: bytes, info: DatasetInfo) -> tuple[str, Counter]:
    """Returns the id and the counts of a record; UserError if something is wrong."""
    # Decoding checks shapes, dtypes, the mask's length, boxes, optical flow; or the sizes of maps.
    pair = None
    if info.modality == dataset.FEATURES:
        feature_codec.decode_features(serialized)
    else:
        pair = codec.decode(serialized)
    example = tf.train.SequenceExample.FromString(serialized)
    context, lists = example.context.feature, example.feature_lists.feature_list
    index = list(context[names.LABEL_INDEX].int64_list.value)
    labels = [value.decode() for value in context[names.LABEL_STRING].bytes_list.value]
    outside = [number for number in index if not 0 <= number < len(info.labels)]
    if outside:
        raise UserError(f"expected label ids below {len(info.labels)}, received {outside[0]}")
    if [info.labels[number] for number in index] != labels:
        raise UserError(f"label ids {index} are not {', '.join(labels)} in {dataset.LABELS_FILE}")
    if len(index) > 1 and not info.multi_label:
        raise UserError(f"expected one label, received {len(index)}")
    if pair is None:
        paired = names.CONJUGATE + names.MEDIA_ID in context
    else:
        _check_frames(pair, example, info)
        paired = pair.conjugate is not None
    images = 0
    for name in IMAGES:
        for feature in lists[name].feature if name in lists else ():
            # OpenCV completes a truncated image; the reader's decoder refuses it.
            tf.io.decode_image(feature.bytes_list.value[0], expand_animations=False)
            images += 1
    name = context[names.EXAMPLE_ID].bytes_list.value[0].decode()
    decoy = names.DECOY in context
    return name, Counter(clips=1, pairs=paired, negatives=not index, decoys=decoy, images=images)


def _check_frames(pair: ClipPair, example: tf.train.SequenceExample, info: DatasetInfo) -> None:
    context, lists = example.context.feature, example.feature_lists.feature_list
    size = [context[name].int64_list.value[0] for name in (names.HEIGHT, names.WIDTH)]
    if list(pair.clip.shape[1:3]) != size:
        raise UserError(f"expected frames of {size}, received {list(pair.clip.shape[1:3])}")
    if info.modality == "rgb+flow" and pair.flow is None:
        raise UserError(f"no optical flow, which {dataset.INFO_FILE} names")
    times = len(lists[names.TIMESTAMPS].feature)
    if times != len(pair.clip):
        raise UserError(f"{len(pair.clip)} frames have {times} timestamps")
