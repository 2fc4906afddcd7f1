"""Checks records: whatever a reader would refuse is found, and named with its file and feature.

The header of a picture is compared with the record's height and width before it is decoded, so
that a few bytes cannot fill the memory.
"""

from __future__ import annotations

import contextlib
import math
import re
import reprlib
from collections import Counter
from pathlib import Path
from typing import Iterable, Iterator, List, Optional, Tuple

import numpy as np
import tensorflow as tf

from tfrecords.records import names
from tfrecords.records.clip_pair import BOXES_RULE, are_boxes
from tfrecords.records.dataset import (
    FEATURES,
    INFO_FILE,
    LABELS_FILE,
    DatasetInfo,
    check_lengths,
    load_info,
    shard_paths,
)
from tfrecords.records.example import Example
from tfrecords.records.feature_codec import FEATURES_FILE, FeatureInfo, decode_features
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UserError
from tfrecords.utils.filesystem import to_path
from tfrecords.utils.remote.shards import read_records

MAX_TIME = 1 << 53  # microseconds: 285 years
CHANNELS = {names.FRAMES: 3, names.MASKS: 1, names.FLOW_FRAMES: 2}


def read_shard(path: StrPath) -> Iterator[Tuple[int, bytes]]:
    """Yields (position, record) of a shard.

    Raises:
        UserError: The file is damaged or cannot be read; names the record.
    """
    number = 0
    if isinstance(to_path(path), Path):
        check_lengths(str(path))
    records = read_records(str(path)).as_numpy_iterator()
    while True:
        with naming(path, number):
            try:
                record = next(records, None)
            except tf.errors.DataLossError as error:
                raise UserError("the file is damaged") from error
        if record is None:
            return
        yield number, record
        number += 1


def check_records(directory: StrPath) -> None:
    """Reads and checks every record of a data set.

    Raises:
        UserError: Something is wrong; names the first file, record and feature.
    """
    info, features = load_both(directory)
    for split, counts in info.splits.items():
        records = 0
        for path in shard_paths(directory, info, split) if counts["clips"] else ():
            for number, serialized in read_shard(path):
                with naming(path, number):
                    check_record(serialized, info, split, features)
                records += 1
        if records != counts["clips"]:
            raise UserError(
                f"Expected {counts['clips']} records in split {split!r} as {INFO_FILE} in "
                f"{directory} says, received {records}; build the data set again."
            )


def load_both(directory: StrPath) -> Tuple[DatasetInfo, Optional[FeatureInfo]]:
    """Reads `dataset.json` and, if the records are cached features, `features.json`."""
    info = load_info(directory)
    return info, FeatureInfo.load(directory) if info.modality == FEATURES else None


@contextlib.contextmanager
def naming(path: StrPath, number: int) -> Iterator[None]:
    """Adds the file and the position of a record to a UserError about its content."""
    try:
        yield
    except UserError as error:
        reason = str(error).rstrip(".")
        raise UserError(f"Record {number} of {path} is corrupt: {reason}.") from error


def check_record(
    serialized: bytes, info: DatasetInfo, split: str, features: Optional[FeatureInfo] = None
) -> Tuple[str, Counter]:
    """Checks a record, and decodes its pictures as the reader does.

    Args:
        serialized: Record.
        info: Description of its data set.
        split: Split that it belongs to.
        features: Description of the cached features, if it is a record of them.

    Returns:
        Its id; its share in the counts of `DatasetInfo`, and "images", the pictures in it.

    Raises:
        UserError: Something is wrong; names the feature.
    """
    example = Example(serialized)
    name = example.value(names.EXAMPLE_ID, str)
    labels = _check_labels(example, info)
    size = _check_context(example, info)
    decoy = names.DECOY in example and example.value(names.DECOY, int)
    if info.modality == FEATURES:
        paired = names.CONJUGATE + names.MEDIA_ID in example
        images = _check_maps(example, serialized, split, features)
    else:
        paired = names.CONJUGATE + names.FRAMES in example
        images = _check_clip(example, info, size)
    if paired:
        example.value(names.CONJUGATE + names.MEDIA_ID, str)
        _check_span(example, names.CONJUGATE)
        if names.CONJUGATE_KIND in example:
            example.value(names.CONJUGATE_KIND, str)
    counts = {"clips": 1, "pairs": paired, "negatives": not labels, "decoys": bool(decoy)}
    return name, Counter(images=images, **counts)


def _check_labels(example: Example, info: DatasetInfo) -> List[str]:
    index = example.values(names.LABEL_INDEX, int)
    labels = example.values(names.LABEL_STRING, str)
    check_label_ids(index, info)
    if [info.labels[number] for number in index] != labels:
        raise UserError(
            f"{names.LABEL_STRING}: expected the labels of the ids {index} in {LABELS_FILE}, "
            f"received {reprlib.repr(labels)}"
        )
    if len(index) > 1 and not info.multi_label:
        raise UserError(f"{names.LABEL_INDEX}: expected one label, received {len(index)}")
    return labels


def check_label_ids(ids: Iterable[int], info: DatasetInfo) -> None:
    """Raises a UserError unless all are ids of the data set's classes."""
    for number in ids:
        if not 0 <= number < len(info.labels):
            raise UserError(
                f"{names.LABEL_INDEX}: expected label ids of 0 to {len(info.labels) - 1}, "
                f"received {number}"
            )


def _check_context(example: Example, info: DatasetInfo) -> Tuple[int, int]:
    """Checks what every record says about its clip; returns (height, width)."""
    example.value(names.MEDIA_ID, str)
    _check_span(example)
    rate = example.value(names.FRAME_RATE, float)
    if not (math.isfinite(rate) and rate > 0):
        raise UserError(f"{names.FRAME_RATE}: expected a number above 0, received {rate}")
    if info.fps and not math.isclose(rate, info.fps, rel_tol=1e-6):
        raise UserError(
            f"{names.FRAME_RATE}: expected {info.fps:g} as in {INFO_FILE}, received {rate:g}"
        )
    kind = example.value(names.FORMAT, str)
    if kind not in names.IMAGE_FORMATS:
        formats = " or ".join(names.IMAGE_FORMATS)
        raise UserError(f"{names.FORMAT}: expected {formats}, received {reprlib.repr(kind)}")
    size = example.frame_size()
    if info.frame_size and list(size) != info.frame_size:
        expected = " x ".join(map(str, info.frame_size))
        raise UserError(
            f"{names.HEIGHT}, {names.WIDTH}: expected {expected} as in {INFO_FILE}, received "
            f"{size[0]} x {size[1]}"
        )
    return size


def _check_span(example: Example, prefix: str = "") -> None:
    start, end = (example.value(prefix + name, int) for name in (names.CLIP_START, names.CLIP_END))
    if not 0 <= start <= end < MAX_TIME:
        raise UserError(
            f"{prefix}{names.CLIP_START}, {prefix}{names.CLIP_END}: expected rising microseconds "
            f"of 0 or more, received {start}, {end}"
        )


def _check_clip(example: Example, info: DatasetInfo, size: Tuple[int, int]) -> int:
    """Checks everything that has a value a frame; returns the number of pictures."""
    length = _check_pictures(example, names.FRAMES, size)
    images = length
    _check_times(example, length)
    conjugate = 0
    if names.CONJUGATE + names.FRAMES in example:
        conjugate = _check_pictures(example, names.CONJUGATE + names.FRAMES, size)
    elif names.CONJUGATE + names.MEDIA_ID in example:
        example.entries(names.CONJUGATE + names.FRAMES, bytes)  # missing
    if names.MASKS in example:
        images += _check_pictures(example, names.MASKS, size, length)
    _check_origin(example)
    if names.FLOW_FRAMES in example:
        images += _check_pictures(example, names.FLOW_FRAMES, size, length)
    elif info.modality == "rgb+flow":
        raise UserError(f"{names.FLOW_FRAMES}: no optical flow, which {INFO_FILE} names")
    other = names.CONJUGATE + names.FLOW_FRAMES
    if other in example or (conjugate and names.FLOW_FRAMES in example):
        images += _check_pictures(example, other, size, conjugate)
    if any(name in example for name in names.BOXES):
        _check_boxes(example, length)
    return images + conjugate


def _check_origin(example: Example) -> None:
    """Checks whose work the masks are; records of before do not say it."""
    if names.MASK_ORIGIN not in example:
        return
    origin = example.value(names.MASK_ORIGIN, str)
    if origin not in names.MASK_ORIGINS:
        raise UserError(
            f"{names.MASK_ORIGIN}: expected {', '.join(names.MASK_ORIGINS)}, received "
            f"{reprlib.repr(origin)}"
        )


def _check_boxes(example: Example, length: int) -> None:
    place = ", ".join(names.BOXES)
    if length != 1:
        raise UserError(
            f"{place}: expected boxes with a still image only, not with {length} frames"
        )
    edges = [example.row(name, float) for name in names.BOXES]
    counts = [len(values) for values in edges]
    if len({*counts}) > 1:
        raise UserError(f"{place}: expected as many values in each, received {counts}")
    if not are_boxes(np.array(edges, np.float32).T):
        raise UserError(f"{place}: expected {BOXES_RULE}, received {edges}")


def _check_times(example: Example, length: int) -> None:
    times = example.entries(names.TIMESTAMPS, int)
    if len(times) != length:
        raise UserError(f"{names.TIMESTAMPS}: {length} frames have {len(times)} timestamps")
    for n, (before, time) in enumerate(zip([-1, *times], times)):
        if not before < time < MAX_TIME:
            raise UserError(
                f"{names.TIMESTAMPS}, entry {n}: expected microseconds above {before}, "
                f"received {time}"
            )


def _check_pictures(
    example: Example, name: str, size: Optional[Tuple[int, int]], length: int = 0
) -> int:
    """Checks the pictures of a feature list and decodes them; returns their number.

    Args:
        example: Record.
        name: Name of the list.
        size: Size of each picture, (height, width); None: that of the first.
        length: Number of pictures; 0: any.
    """
    channels = CHANNELS[name.removeprefix(names.CONJUGATE)]
    pictures = example.pictures(name, size, length)
    for n, encoded in enumerate(pictures):
        place = f"{name}, entry {n}"
        try:
            if channels == 2:
                image = tf.io.decode_png(encoded)
            else:
                image = tf.io.decode_image(encoded, channels, expand_animations=False)
        except tf.errors.OpError as error:
            reason = re.sub(r"\{\{.*?\}\} ?| ?\[Op:.*", "", " ".join(error.message.split()))
            raise UserError(f"{place}: it cannot be decoded ({reason.rstrip('.')})") from error
        if image.shape[-1] not in (names.FLOW_CHANNELS if channels == 2 else (channels,)):
            raise UserError(
                f"{place}: expected a picture of {channels} channels, received {image.shape[-1]}"
            )
    return len(pictures)


def _check_maps(
    example: Example, serialized: bytes, split: str, features: Optional[FeatureInfo]
) -> int:
    """Checks feature maps against `features.json`; returns the number of pictures (masks)."""
    maps = decode_features(serialized)
    if features is not None:
        wanted = [features.end_point + names.MAPS]
        if features.conjugates:
            wanted.append(names.CONJUGATE + wanted[0])
        views = features.views if split == "train" else 1
        for name in wanted:
            if name not in maps:
                raise UserError(f"{name}: expected as {FEATURES_FILE} says, received no such list")
            if len(maps[name]) != views:
                raise UserError(
                    f"{name}: expected {views} views as {FEATURES_FILE} says, received "
                    f"{len(maps[name])}"
                )
            for values in maps[name]:
                if values is not None and not _fits(values.shape, features.shapes[split]):
                    raise UserError(
                        f"{name}: expected maps of {features.shapes[split]} as {FEATURES_FILE} "
                        f"says, received {[*values.shape]}"
                    )
        if any(values is None for values in maps[wanted[0]]):
            raise UserError(f"{wanted[0]}: expected a map in each view, received none")
    _check_origin(example)
    if names.MASKS not in example:
        return 0
    length, height, width = features.frames if features else (None, None, None)
    size = (height, width) if height and width else None
    return _check_pictures(example, names.MASKS, size, length or 0)


def _fits(shape: Iterable[int], expected: Iterable[Optional[int]]) -> bool:
    return all(side is None or side == received for received, side in zip(shape, expected))
