"""The phases of the reader, each on one record; see `tfrecords.reading.clips`."""

from __future__ import annotations

import functools
from typing import Dict, NamedTuple, Optional, Tuple, Union

import tensorflow as tf

from tfrecords.media.flow import NO_MOTION
from tfrecords.reading.options import Augmentation, ClipSpec, SampleWeights
from tfrecords.reading.order import record_key
from tfrecords.reading.photometric import COLORS, DRAWN
from tfrecords.reading.preprocess import (
    PREPROCESS,
    Window,
    crop_and_flip,
    decode_image,
    preprocess,
    preprocess_flow,
    refuse_large,
)
from tfrecords.reading.remedies import batch
from tfrecords.records import codec
from tfrecords.records.dataset import DatasetInfo
from tfrecords.records.names import FLOW, LABEL_INDEX, MODALITIES, Stream

Tensors = Dict[str, tf.Tensor]
Scalar = Union[float, tf.Tensor]


class Draws(NamedTuple):
    """The random choices for one record in one epoch; scalars."""

    time: Scalar  # [0, 1): start of the clip in the free time
    y: Optional[Scalar]  # [0, 1): position of the crop
    x: Optional[Scalar]
    flip: tf.Tensor  # bool
    freeze: tf.Tensor  # bool: the conjugate becomes the clip's first frame, repeated
    swap: tf.Tensor  # bool: the actor goes into a neighbour's scene, if possible
    colors: Optional[tf.Tensor] = None  # [DRAWN] in [-1, 1), see `tfrecords.reading.photometric`
    remedies: Optional[tf.Tensor] = None  # in [0, 1), see `tfrecords.reading.remedies`

    @classmethod
    def fixed(
        cls,
        time: Scalar,
        y: Optional[Scalar],
        x: Optional[Scalar],
        colors: Optional[tf.Tensor] = None,
    ) -> Draws:
        """Returns a chosen place: no flip, no frozen conjugate, no swap."""
        no = tf.constant(False)
        return cls(time, y, x, flip=no, freeze=no, swap=no, colors=colors)


def parse(serialized: tf.Tensor, spec: ClipSpec) -> Tensors:
    """Parses a record, see `codec.parse`; a missing conjugate or mask is an empty list."""
    record = codec.parse(serialized, spec.masks, streams=spec.streams)
    record["has_conjugate"] = tf.size(record[spec.streams[0].pair[1]]) > 0
    if spec.masks:
        record["mask"] = codec.known_masks(record, spec.automatic_masks)
        record["has_mask"] = tf.size(record["mask"]) > 0
    return record


def draw(
    key: tf.Tensor, identity: tf.Tensor, augmentation: Augmentation, colors: bool = False
) -> Draws:
    """Draws from the epoch's key, int64 [2], and the record's id, a string scalar."""
    # A longer draw begins like a shorter one, so a new kind of draw leaves the others unchanged.
    remedies = augmentation.remedies
    count = 6 + (DRAWN if colors or remedies else 0) + (batch.DRAWN if remedies else 0)
    values = tf.random.stateless_uniform([count], record_key(key, identity))
    time, y, x, mirror, freeze, partner = tf.unstack(values[:6])
    return Draws(
        time,
        y,
        x,
        tf.logical_and(augmentation.flip, mirror < 0.5),
        freeze < augmentation.frozen_conjugates,
        partner < augmentation.swap,
        2 * values[6 : 6 + DRAWN] - 1 if colors else None,
        values[6 + DRAWN :] if remedies else None,
    )


def sample(record: Tensors, spec: ClipSpec, draws: Optional[Draws]) -> Tensors:
    """Selects T frames of clip, mask and conjugate, encoded or decoded.

    Clip and conjugate share the draw: if they are equally long they start at the same frame.
    A conjugate that will be replaced by a frozen frame is dropped.
    """
    frames = spec.frames
    step = tf.constant(1.0) if spec.fps is None else record["fps"] / spec.fps
    names = [name for stream in spec.streams for name in stream.pair]
    if spec.masks:
        names.append("mask")
    lengths = tf.stack([tf.shape(record[name])[0] for name in names])
    indices = dict(zip(names, tf.unstack(frame_indices(lengths[:, None], frames, step, draws))))

    def pick(name: str, keep: Optional[tf.Tensor] = None) -> tf.Tensor:
        chosen = indices[name]
        return tf.gather(record[name], chosen if keep is None else chosen[: keep * frames])

    wanted = record["has_conjugate"]
    if draws is not None:
        wanted = tf.logical_and(wanted, tf.logical_not(draws.freeze))
    kept = tf.cast(wanted, tf.int32)
    sampled = {**record, "own_conjugate": wanted}
    for stream in spec.streams:
        clip, conjugate = stream.pair
        sampled[clip] = pick(clip)
        sampled[conjugate] = pick(conjugate, kept)
    if spec.masks:
        sampled["mask"] = pick("mask", tf.cast(record["has_mask"], tf.int32))
    return sampled


def frame_indices(
    length: tf.Tensor, frames: int, step: tf.Tensor, draws: Optional[Draws]
) -> tf.Tensor:
    """Returns the indices of frames, `step` apart, int32 [..., frames].

    `length` of the clips is [..., 1]. The start is drawn from the free time, or is its middle; past
    the end the last frame repeats.
    """
    room = tf.floor(tf.maximum(tf.cast(length - 1, tf.float32) - (frames - 1) * step, 0.0))
    start = tf.floor(room / 2 if draws is None else tf.minimum(draws.time * (room + 1), room))
    # The addend keeps a product such as 3 * (30 / 10) from falling just below an integer.
    indices = tf.floor(start + tf.range(frames, dtype=tf.float32) * step + 1e-3)
    return tf.minimum(tf.cast(indices, tf.int32), length - 1)


def decode(record: Tensors, spec: ClipSpec) -> Tensors:
    """Decodes and resizes JPEG or PNG frames to uint8 [T, h, w, C]; an empty list stays empty.

    A mask becomes 0 and 1.
    """
    first = spec.streams[0].pair[0]
    length = record[first].shape  # after `sample` known, and that of all but empty lists
    decoded = dict(record)
    for stream in spec.streams:

        def frames(name: str, stream: Stream = stream) -> tf.Tensor:
            encoded = tf.ensure_shape(record[name], length)
            images = decode_images(encoded, stream.channels)
            return PREPROCESS[stream](images, spec.size, spec.resize)

        clip, conjugate = stream.pair
        decoded[clip] = frames(clip)
        decoded[conjugate] = tf.cond(
            tf.size(record[conjugate]) > 0,
            functools.partial(frames, conjugate),
            lambda none=decoded[clip][:0]: none,
        )

    def mask() -> tf.Tensor:
        # As an image of 0 and 255: a pixel is the actor's if the mask covers half of it.
        images = decode_images(tf.ensure_shape(record["mask"], length), 1) * 255
        return tf.cast(preprocess(images, spec.size, spec.resize) > 127, tf.uint8)

    if spec.masks:
        no_mask = decoded[first][:0, ..., :1]
        decoded["mask"] = tf.cond(record["has_mask"], mask, lambda: no_mask)
    return decoded


def decode_images(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes images of one size, string [T], to uint8 [T, H, W, channels]."""
    encoded = refuse_large(encoded)
    if encoded.shape[0] is not None:
        # One operation a frame: a loop would take as long as copying the frame twice.
        return tf.stack([decode_image(image, channels) for image in tf.unstack(encoded)])
    images = tf.TensorSpec([None, None, channels], tf.uint8)
    return tf.map_fn(
        lambda image: decode_image(image, channels), encoded, fn_output_signature=images
    )


def complete(record: Tensors, spec: ClipSpec, draws: Optional[Draws]) -> Tensors:
    """Fills in a missing conjugate by the clip or its frozen first frame, a missing mask by 0."""
    frames = spec.frames
    freeze = tf.constant(False) if draws is None else draws.freeze
    times = tf.range(frames)
    stand_in = tf.where(freeze, tf.zeros_like(times), times)
    completed = {**record, "has_conjugate": tf.logical_or(record["has_conjugate"], freeze)}
    for stream in spec.streams:
        clip, conjugate = (record[name] for name in stream.pair)
        conjugate = tf.cond(
            tf.shape(conjugate)[0] > 0,
            lambda given=conjugate: given,
            lambda clip=clip: tf.gather(clip, stand_in),
        )
        conjugate = tf.ensure_shape(conjugate, [frames, *clip.shape[1:]])
        if stream is FLOW and draws is not None:
            conjugate = tf.cond(
                freeze,
                lambda still=conjugate: tf.fill(tf.shape(still), tf.constant(NO_MOTION, tf.uint8)),
                lambda moving=conjugate: moving,
            )
        clip = tf.ensure_shape(clip, [frames, *clip.shape[1:]])
        completed.update(zip(stream.pair, (clip, conjugate)))
    if spec.masks:
        mask = tf.cond(
            record["has_mask"], lambda: record["mask"], lambda: tf.zeros_like(clip[..., :1])
        )
        completed["mask"] = tf.ensure_shape(mask, [frames, *mask.shape[1:]])
    return completed


def augment(
    record: Tensors, spec: ClipSpec, window: Optional[Tuple[int, int]], draws: Optional[Draws]
) -> Tensors:
    """Crops and flips clip, conjugate and mask alike, to the inputs of the model.

    Without a window nothing is cropped. Flow alone takes the names of the clip.
    """
    crop = flip = None
    if draws is not None:
        crop = Window(*window, draws.y, draws.x) if window else None
        flip = draws.flip
    inputs = {"has_conjugate": record["has_conjugate"], "id": record["id"]}
    if draws is not None and draws.colors is not None:
        inputs[COLORS] = draws.colors  # for the batch
    if draws is not None and draws.remedies is not None:
        inputs[batch.DRAWS] = draws.remedies
    stacks = {}
    for stream, pair in MODALITIES[spec.modality].pairs:
        for name, source in zip(pair, stream.pair):
            if stream is FLOW:
                inputs[name] = preprocess_flow(record[source], spec.size, spec.resize, crop, flip)
            else:
                stacks[name] = record[source]
    if spec.masks:
        stacks["mask"] = record["mask"]
    inputs.update(zip(stacks, crop_and_flip([*stacks.values()], crop, flip)))
    if spec.masks:
        inputs.update(mask=tf.squeeze(inputs["mask"], -1), has_mask=record["has_mask"])
    return inputs


def check_labels(record: Tensors, info: DatasetInfo) -> Tensors:
    """Returns a record whose label ids are checked: TensorFlow would take many a wrong one."""
    labels, classes = record["labels"], len(info.labels)
    known = tf.reduce_all((labels >= 0) & (labels < classes))
    expected = f"{LABEL_INDEX}: expected label ids of 0 to {classes - 1} in the record"
    check = tf.debugging.Assert(known, [expected, record["id"], "received", labels])
    with tf.control_dependencies([check]):
        return {**record, "labels": tf.identity(labels)}


def targets(
    labels: tf.Tensor, info: DatasetInfo, sample_weights: SampleWeights
) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns target and sample weight for label ids int64 [n], see `read_dataset`."""
    classes = len(info.labels)
    weights = tf.constant(sample_weights.class_weights or [1.0] * classes, tf.float32)
    if info.multi_label:
        target = tf.minimum(tf.reduce_sum(tf.one_hot(labels, classes), axis=0), 1.0)
        weight = tf.math.divide_no_nan(tf.reduce_sum(target * weights), tf.reduce_sum(target))
        return target, tf.where(tf.reduce_any(target > 0), weight, 1.0)
    target = tf.cast(tf.concat([labels, [classes]], axis=0)[0], tf.int32)
    weights = tf.concat([weights, [sample_weights.negative_weight]], axis=0)
    return target, tf.gather(weights, target)
