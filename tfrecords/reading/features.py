"""Reads cached features as batches, to train a head while its backbone is frozen.

    DIR/dataset.json    as in any data set, modality "features"; splits, classes and the order of
                        the records are those of the data set that the features were made from
    DIR/features.json   the fields of `FeatureInfo`
    DIR/train-00000-of-00004.tfrecord ...   records of maps, see `tfrecords.records.codec`

Records come in the order in which `read_dataset` reads the data set itself, a function of
(seed, epoch). The view of a record and the crop of its map are a function of (seed, epoch, id of
the record).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, List, Optional, Sequence, Tuple

import tensorflow as tf

from tfrecords.reading.clips import count_steps
from tfrecords.reading.options import SampleWeights, Schedule, route
from tfrecords.reading.order import (
    assert_cardinality,
    finish,
    list_records,
    record_key,
    shuffle_epochs,
)
from tfrecords.reading.phases import Tensors, check_labels, decode_images, targets
from tfrecords.reading.preprocess import Window, crop_and_flip
from tfrecords.records.codec import known_masks
from tfrecords.records.dataset import load_info, shard_paths
from tfrecords.records.feature_codec import FeatureInfo, parse_features
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UsageError

# Records in the shuffle hold no more than this. If that is too little for `shuffle_buffer` of them,
# their order differs a little from that of `read_dataset`.
SHUFFLE_BYTES = 2 << 30


def read_features(
    directory: StrPath,
    split: str,
    batch_size: int = 8,
    training: bool = True,
    seed: int = 0,
    *,
    map_crop: int = 0,
    conjugates: bool = True,
    masks: bool = False,
    automatic_masks: bool = False,
    **options: Any,
) -> tf.data.Dataset:
    """Reads a split of cached features as batches of (inputs, targets, sample_weights).

    Args:
        directory: Directory of the features.
        split: Name of the split, such as "train".
        batch_size, seed: As for `read_dataset`.
        training: Whether to shuffle, with a random view of each record; otherwise in order, the
            first view.
        map_crop: Side, in cells, of the random crop in training; 0: none.
        conjugates: Whether to add their maps to the inputs.
        masks: Whether to add "mask" and "has_mask"; not in training, whose views differ.
        automatic_masks: As in `ClipSpec`.
        **options: Any other field of `Schedule` and `SampleWeights`, see
            `tfrecords.reading.options`.

    Returns:
        A finite data set. inputs: features, conjugate_features float16 [B, T, H, W, D] (a missing
        conjugate is a copy of the clip); has_conjugate bool [B]; id string [B]; with `masks`: mask
        uint8 [B, t, h, w] of 0 and 1, has_mask bool [B]. targets and sample_weights: as for
        `read_dataset`.

    Raises:
        UsageError: There are no such features or split, they lack conjugates, or their maps are
            smaller than map_crop.
    """
    schedule, weights = route(options, Schedule(seed), SampleWeights())
    info, features = load_info(directory), FeatureInfo.load(directory)
    paths = shard_paths(directory, info, split)
    if masks and training:
        raise ValueError("Expected masks=False in training. Received masks=True.")
    shape = features.shapes[split]
    if conjugates and not features.conjugates:
        raise UsageError(f"Expected maps of conjugates in {directory}, received none.")
    if training:
        _check_crop(directory, shape, map_crop)
    if not training and None in shape:
        batch_size = 1
    clips = info.splits[split]["clips"]
    steps = count_steps(info, split, batch_size, training)
    batch_size = min(batch_size, clips)
    share = schedule.share(batch_size)

    def select(serialized: tf.Tensor, key: Optional[tf.Tensor] = None) -> Tensors:
        """Selects one view of a record, its maps still bytes; key: the epoch's, if any."""
        record = parse_features(serialized, features.end_point, conjugates, masks)
        if masks:
            record["mask"] = known_masks(record, automatic_masks)
        view, y, x = 0, 0.0, 0.0
        if key is not None:
            view, y, x = tf.unstack(tf.random.stateless_uniform([3], record_key(key, record["id"])))
            view = tf.cast(view * tf.cast(tf.size(record["features"]), tf.float32), tf.int32)
            record["position"] = tf.stack([y, x])
        for name in _maps(record):
            record[name] = record[name][view]
        return record

    def to_row(record: Tensors) -> Tuple[Tensors, tf.Tensor, tf.Tensor]:
        inputs = _decode(record, shape, features.frames, map_crop if training else 0)
        labels = check_labels(record, info)["labels"]
        return inputs, *targets(labels, info, weights)

    if training:
        # Selected before the shuffle, so that of several views only one is kept in memory.
        buffer = _fitting(schedule.shuffle_buffer, shape, conjugates)
        dataset = shuffle_epochs(
            lambda key: list_records(paths, key).map(lambda record: select(record, key)),
            replace(schedule, shuffle_buffer=buffer),
            batch_size,
            steps,
        ).map(lambda record, key: record)
    else:
        dataset = list_records(paths).apply(assert_cardinality(clips)).map(select)
    dataset = dataset.map(to_row, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(share if training else batch_size)
    if not training:
        dataset = dataset.repeat(schedule.epochs or 1)
    return finish(dataset, schedule.batches(steps))


def _check_crop(directory: StrPath, shape: Sequence[Optional[int]], map_crop: int) -> None:
    height, width = shape[1:3]
    if any((side or map_crop) < map_crop for side in (height, width)):
        raise UsageError(
            f"data.map_crop: expected at most the {height} x {width} cells of the maps in "
            f"{directory}, received {map_crop}."
        )
    if None in shape and not map_crop:
        raise UsageError(
            f"data.map_crop: expected cells to cut from the maps in {directory}, which differ in "
            "size, received 0."
        )


def _fitting(records: int, shape: Sequence[Optional[int]], conjugates: bool) -> int:
    """Returns the number of records to shuffle, at most `SHUFFLE_BYTES` if sizes are known."""
    sides = [side for side in shape if side is not None]
    if len(sides) < len(shape):
        return records
    return max(1, min(records, SHUFFLE_BYTES // (2 * math.prod(sides) * (1 + conjugates))))


def _maps(record: Tensors) -> List[str]:
    return [name for name in ("features", "conjugate_features") if name in record]


def _decode(
    record: Tensors,
    shape: Sequence[Optional[int]],
    frames: Sequence[Optional[int]],
    map_crop: int,
) -> Tensors:
    """Decodes a selected view to the inputs of a head.

    Shapes as in `FeatureInfo`: `shape` of the maps, `frames` of the masks.
    """
    inputs = {"id": record["id"], "has_conjugate": tf.constant(False)}
    for name in _maps(record):
        encoded = record[name]
        if name != "features":
            inputs["has_conjugate"] = tf.strings.length(encoded) > 0
            encoded = tf.where(inputs["has_conjugate"], encoded, record["features"])
        cells = tf.reshape(tf.io.decode_raw(encoded, tf.float16), record["dimensions"])
        cells = tf.ensure_shape(cells, shape)
        if map_crop:
            room = tf.shape(cells)[1:3] - map_crop
            too_large = "data.map_crop is larger than a cached map"
            with tf.control_dependencies([tf.debugging.assert_non_negative(room, too_large)]):
                window = Window(map_crop, map_crop, *tf.unstack(record["position"]))
                (cells,) = crop_and_flip([cells], window, None)
        inputs[name] = cells
    if "mask" in record:
        inputs["has_mask"] = tf.size(record["mask"]) > 0
        empty = [side or 1 for side in frames]
        mask = tf.cond(
            inputs["has_mask"],
            lambda: decode_images(record["mask"], 1)[..., 0],
            lambda: tf.zeros(empty, tf.uint8),
        )
        inputs["mask"] = tf.ensure_shape(mask, frames)
    return inputs
