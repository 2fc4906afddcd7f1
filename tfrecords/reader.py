"""Records in, batches out: a tf.data pipeline in named phases.

    list    the shards of a split; in training their order and that of the records is drawn anew
            for each epoch (`tfrecords.order`)
    parse   record -> encoded frames
    draw    one time offset, crop, flip a record, for clip and conjugate alike
    sample  which frames: before decoding, so that no frame is decoded in vain
    decode  JPEG or PNG -> uint8, and uint8 to the end: four times less to copy than float; and
            resize (`tfrecords.preprocess`)
    complete  what is missing: a conjugate, a mask
    augment crop and flip
    batch
    swap    in training, if asked for: the actor of a clip pasted into the scene of its neighbour in
            the batch (`tfrecords.swap`)
    jitter  in training, if asked for: other light and colours (`tfrecords.photometric`)

With `cache` the frames of every record are decoded and resized before sampling, and kept.

What is drawn for a record is a stateless function of (seed, epoch, id of the record), whatever
stands beside it in the data set; the order is one of (seed, epoch). A run that resumes at epoch N
reads what the undisturbed run would have read, without decoding what it skips. So are the partners
of a swap: they follow from the order.

A clip, a conjugate, a mask: [T, H, W, 3], [T, H, W, 3], [T, H, W] in time, height and width;
optical flow [T, H, W, 2], which goes the way of the frames through every phase.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import tensorflow as tf

from tfrecords.media.flow import NO_MOTION
from tfrecords.order import (
    Epochs,
    assert_cardinality,
    list_records,
    record_key,
    shuffle_epochs,
)
from tfrecords.photometric import COLORS, DRAWN, make_jitter
from tfrecords.preprocess import Window, crop_and_flip, crop_size, preprocess, preprocess_flow
from tfrecords.records import codec, feature_codec
from tfrecords.records.dataset import (
    FEATURES,
    INFO_FILE,
    DatasetInfo,
    load_info,
    require_flow,
    require_frames,
    shard_paths,
)
from tfrecords.records.names import FLOW_PAIR, RGB_PAIR
from tfrecords.swap import swap_actors
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UsageError, UserError

Tensors = Dict[str, tf.Tensor]

# The frames of each modality, by their names in a record: those of the clip, of the conjugate.
MODALITIES = {"rgb": (RGB_PAIR,), "flow": (FLOW_PAIR,), "two_stream": (RGB_PAIR, FLOW_PAIR)}


class Draws(NamedTuple):
    """What chance decides about one record of one epoch; scalars."""

    time: tf.Tensor  # [0, 1): where in the free room the clip begins
    y: tf.Tensor  # [0, 1): where the crop lies
    x: tf.Tensor
    flip: tf.Tensor  # bool
    freeze: tf.Tensor  # bool: the conjugate becomes the clip's first frame, repeated
    swap: tf.Tensor  # bool: the actor goes into a neighbour's scene, where that can be
    colors: Optional[tf.Tensor] = None  # [DRAWN] in [-1, 1), see `tfrecords.photometric`


def read_dataset(
    directory: StrPath,
    split: str,
    frames: int = 16,
    size: Tuple[int, int] = (64, 64),
    batch_size: int = 8,
    training: bool = True,
    seed: int = 0,
    *,
    fps: Optional[float] = None,
    resize: str = "stretch",
    crop: float = 1.0,
    flip: bool = True,
    frozen_conjugates: float = 0.0,
    swap: float = 0.0,
    jitter: float = 0.0,
    masks: bool = False,
    negative_weight: float = 0.01,
    class_weights: Optional[Sequence[float]] = None,
    view: Optional[Tuple[float, Optional[float], Optional[float]]] = None,
    first_epoch: int = 0,
    first_step: int = 0,
    epochs: Optional[int] = None,
    worker: Tuple[int, int] = (0, 1),
    by_file: bool = False,
    shuffle_buffer: int = 1024,
    cache: bool = False,
    modality: str = "rgb",
) -> tf.data.Dataset:
    """Reads a split as batches of (inputs, targets, sample_weights).

    Args:
        directory: of the data set.
        split: such as "train".
        frames: T, sampled from each clip; a shorter clip repeats its last frame.
        size: (height, width) in pixels after resizing.
        batch_size: pairs a batch. Training drops the clips left over in each epoch (a split smaller
            than a batch is one batch); test keeps them.
        training: shuffled, with a random start, crop and flip, the same for both clips of a pair;
            else in order, the centre of the clip, the whole frame.
        seed: of all that is random.
        fps: frames a second to sample at; None: every frame of the file.
        resize: see `preprocess`. "whole": training cuts its window of `size` (times `crop`) out of
            the whole frame, wherever it lies; test gives the whole frame, so batch_size is 1.
        crop: in training, the share of height and width that is cut out (see `crop_size`).
        flip: in training, half the pairs are mirrored.
        frozen_conjugates: in training, the share of conjugates replaced by the clip's first frame
            repeated: the scene and the person stay, the motion goes.
        swap: in training, the share of clips whose actor is pasted on the conjugate of the
            neighbour in the batch, which becomes their conjugate too (see `tfrecords.swap`); needs
            masks. Less often where the neighbour's conjugate is missing or a frozen frame.
        jitter: in training, how far light and colours of a pair change, below 1 (see
            `photometric.make_jitter`); not those of optical flow.
        masks: adds "mask" and "has_mask" to the inputs.
        negative_weight: sample weight of a clip without a label (single-label data).
        class_weights: [K], sample weight of a clip by its class; of several labels their mean.
            None: 1.
        view: for a test of several views, where this one lies: its start in the clip's free time,
            the crop's top and left in the free room, each 0..1; the last two None: the whole frame.
            None: the centre, the whole frame.
        first_epoch: number of the first epoch.
        first_step: in training, the number of batches of the first epoch that are left out, as a
            run that stopped behind them wants it; their frames are not decoded. Needs `epochs`.
        epochs: None: the data set is one epoch long, and in training a new one at each iteration.
            N: it is the epochs first_epoch ... first_epoch + N - 1 in a row, always the same: this
            is the form that a resumed run continues exactly.
        worker: (number, count) in training on several machines: of every batch come the rows of
            this one, batch_size / count. Together they are the batches of one machine.
        by_file: a worker reads files of its own, where there are as many files as workers, and not
            what belongs to others; the batches are then not those of one machine, and where its
            files have fewer clips than its part of an epoch some of them come twice.
        shuffle_buffer: records, still encoded, among which training draws the next.
        cache: keeps all frames of the split in memory, decoded and resized (height x width x 3
            bytes each; for small data sets).
        modality: "rgb"; "flow": the optical flow of the records in the place of their frames;
            "two_stream": both. Flow is cropped and flipped with the frames and is in pixels of the
            size read, from each frame to the next one stored, whatever `fps` says.

    Returns:
        A finite data set. inputs: clip, conjugate uint8 [B, T, h, w, 3]; has_conjugate bool [B] (a
        missing conjugate is a copy of the clip); id string [B]; two_stream: flow, conjugate_flow
        uint8 [B, T, h, w, 2] too (flow: clip and conjugate are these); with `masks`: mask uint8
        [B, T, h, w] of 0 and 1, has_mask bool [B]; with `swap` in training: swapped bool [B] and
        context_target, as targets: the class that the scene belongs to. targets: int32 [B], K = the
        number of classes for a clip without a label; multi-label data: float32 [B, K] of 0 and 1.
        sample_weights: float32 [B].

    Raises:
        UserError: no such data set or split; `swap` where no record has a mask; while iterating,
            inside `translate_errors`: a record is corrupt.
        ValueError: a number is out of its range.
    """
    least = min(frames, batch_size, 1 if epochs is None else epochs)
    if least < 1 or not 0 <= frozen_conjugates <= 1 or not 0 <= swap <= 1:
        raise ValueError(
            "Expected frames, batch_size and epochs of 1 or more, frozen_conjugates and swap in "
            f"0..1. Received {frames}, {batch_size}, {epochs}, {frozen_conjugates}, {swap}."
        )
    if not 0 <= jitter < 1:
        raise ValueError(f"Expected jitter in [0, 1). Received jitter={jitter}.")
    if modality not in MODALITIES:
        raise ValueError(
            f"Expected modality to be one of {tuple(MODALITIES)}. Received modality={modality!r}."
        )
    if resize == "whole" and not training and batch_size > 1:
        raise ValueError(
            "Expected batch_size=1 for whole frames, which differ in size. "
            f"Received batch_size={batch_size}."
        )
    if first_step and epochs is None:
        raise ValueError(f"Expected epochs with first_step. Received first_step={first_step}.")
    info = load_info(directory)
    require_frames(directory, info)
    require_flow(directory, info, modality)
    paths = shard_paths(directory, info, split)
    clips = info.splits[split]["clips"]
    steps = count_steps(info, split, batch_size, training)
    batch_size = min(batch_size, clips)
    if batch_size % worker[1] or not 0 <= worker[0] < worker[1]:
        raise ValueError(
            "Expected a worker (number, count) whose count divides batch_size. "
            f"Received {worker}, {batch_size}."
        )
    uncut = view is not None and view[1] is None
    window = None if uncut else crop_size(size, crop if training or view else 1.0)
    chosen = Draws(*view, *[tf.constant(False)] * 3) if view else None
    swaps = training and swap > 0
    if swaps and not has_masks(directory, split):
        raise UsageError(
            f"Expected masks of the actor in split {split!r} of {directory} to swap actors by, "
            "received no record with one; set data.swap to 0."
        )
    read_masks = masks or swaps
    colors = training and jitter > 0 and RGB_PAIR in MODALITIES[modality]

    def read(serialized: tf.Tensor) -> Tensors:
        record = parse(serialized, read_masks, modality)
        target, weight = targets(record["labels"], info, negative_weight, class_weights)
        return {**record, "target": target, "weight": weight}

    # There is no control flow of Python's to convert, which would take seconds.
    @tf.autograph.experimental.do_not_convert
    def load(serialized: tf.Tensor) -> Tensors:
        return decode(read(serialized), size, resize)

    @tf.autograph.experimental.do_not_convert
    def to_row(
        item: Union[Tensors, tf.Tensor], key: Optional[tf.Tensor] = None
    ) -> Tuple[Tensors, tf.Tensor, tf.Tensor]:
        """From a record, of `load` or serialised, to a row of a batch; key: the epoch's, if any."""
        record = item if cache else read(item)
        draws = chosen
        if key is not None:
            draws = draw(key, record["id"], flip, frozen_conjugates, swap, colors)
        record = sample(record, frames, fps, draws)
        if not cache:
            record = decode(record, size, resize)
        inputs = augment(complete(record, frames, draws), size, window, draws, resize)
        if swaps:
            inputs.update(swap=draws.swap, own_conjugate=record["own_conjugate"])
        return inputs, record["target"], record["weight"]

    number, workers = worker
    own_files = by_file and training and 1 < workers <= len(paths)
    if own_files:
        paths, batch_size, worker = paths[number::workers], batch_size // workers, (0, 1)
    if cache:
        cached = list_records(paths).map(load, num_parallel_calls=tf.data.AUTOTUNE).cache()

    part = Epochs(seed, batch_size, steps, first_epoch, first_step, epochs, worker)
    if training and cache:
        # + 1: the shuffle reads to the end, which is what completes the cache.
        dataset = shuffle_epochs(lambda key: cached, clips + 1, part, own_files)
    elif training:
        dataset = shuffle_epochs(
            lambda key: list_records(paths, key), shuffle_buffer, part, own_files
        )
    else:
        dataset = (cached if cache else list_records(paths)).apply(assert_cardinality(clips))
    dataset = dataset.map(to_row, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size // worker[1] if training else batch_size)
    if swaps:
        dataset = dataset.map(
            lambda *batch: swap_actors(*batch, keep_masks=masks),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    if colors:
        change = make_jitter(jitter)
        dataset = dataset.map(
            lambda inputs, *rest: (change(inputs), *rest), num_parallel_calls=tf.data.AUTOTUNE
        )
    if not training:
        dataset = dataset.repeat(epochs or 1)
    dataset = dataset.apply(assert_cardinality(part.total))  # what a progress bar counts to
    options = tf.data.Options()
    # Sharded by file, several workers would not read what one worker reads.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


def count_steps(info: DatasetInfo, split: str, batch_size: int, training: bool) -> int:
    """Batches in one epoch of `read_dataset`; UserError where the split has no clips."""
    clips = info.require_split(split)["clips"]
    return max(1, clips // batch_size) if training else -(-clips // batch_size)


def has_masks(directory: StrPath, split: str) -> bool:
    """Whether a record of a split has a mask; reads up to the first that has one."""
    paths = shard_paths(directory, load_info(directory), split)
    sizes = tf.data.TFRecordDataset(paths).map(lambda record: tf.size(codec.parse(record)["mask"]))
    with translate_errors(directory):
        return any(size > 0 for size in sizes.as_numpy_iterator())


def count_labels(directory: StrPath, split: str) -> List[int]:
    """Of each class the records of a split that have it; reads them all and decodes no frame."""
    info = load_info(directory)
    records = tf.data.TFRecordDataset(shard_paths(directory, info, split))
    labels = records.map(lambda record: codec.parse(record, masks=False, rgb=False)["labels"])
    counts = [0] * len(info.labels)
    with translate_errors(directory):
        for ids in labels.as_numpy_iterator():
            for number in ids:
                counts[number] += 1
    return counts


# ---- the phases, each on one record -------------------------------------------------------------


def parse(serialized: tf.Tensor, masks: bool, modality: str = "rgb") -> Tensors:
    """See `codec.parse`; a conjugate or mask that is not there is an empty list of frames."""
    pairs = MODALITIES[modality]
    record = codec.parse(serialized, masks, rgb=RGB_PAIR in pairs, flow=FLOW_PAIR in pairs)
    record["has_conjugate"] = tf.size(record[pairs[0][1]]) > 0
    if masks:
        record["has_mask"] = tf.size(record["mask"]) > 0
    return record


def draw(
    key: tf.Tensor,
    identity: tf.Tensor,
    flip: bool,
    frozen_conjugates: float,
    swap: float,
    colors: bool = False,
) -> Draws:
    """Chance, as a function of the epoch's key int64 [2] and the record's id, a string scalar."""
    # A longer draw begins as a shorter one: a new kind of chance leaves the others as they were.
    values = tf.random.stateless_uniform([6 + DRAWN * colors], record_key(key, identity))
    time, y, x, mirror, freeze, partner = tf.unstack(values[:6])
    return Draws(
        time,
        y,
        x,
        tf.logical_and(flip, mirror < 0.5),
        freeze < frozen_conjugates,
        partner < swap,
        2 * values[6:] - 1 if colors else None,
    )


def sample(record: Tensors, frames: int, fps: Optional[float], draws: Optional[Draws]) -> Tensors:
    """Keeps `frames` frames of clip, mask and conjugate, be they encoded or decoded.

    Clip and conjugate share the draw: where they are equally long they start at the same frame.
    A conjugate that will be replaced by a frozen frame is dropped.
    """
    step = tf.constant(1.0) if fps is None else record["fps"] / fps

    names = [name for pair in _pairs(record) for name in pair] + ["mask"] * ("mask" in record)
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
    for clip, conjugate in _pairs(record):
        sampled[clip] = pick(clip)
        sampled[conjugate] = pick(conjugate, kept)
    if "mask" in record:
        sampled["mask"] = pick("mask", tf.cast(record["has_mask"], tf.int32))
    return sampled


def frame_indices(
    length: tf.Tensor, frames: int, step: tf.Tensor, draws: Optional[Draws]
) -> tf.Tensor:
    """int32 [..., frames]: which frames of clips of `length` [..., 1], `step` frames apart.

    The start is drawn from the room there is, or is its middle; past the end the last repeats.
    """
    room = tf.floor(tf.maximum(tf.cast(length - 1, tf.float32) - (frames - 1) * step, 0.0))
    start = tf.floor(room / 2 if draws is None else tf.minimum(draws.time * (room + 1), room))
    # The addend keeps a product such as 3 * (30 / 10) from falling just below an integer.
    indices = tf.floor(start + tf.range(frames, dtype=tf.float32) * step + 1e-3)
    return tf.minimum(tf.cast(indices, tf.int32), length - 1)


def decode(record: Tensors, size: Tuple[int, int], resize: str) -> Tensors:
    """JPEG or PNG frames -> uint8 [T, h, w, C], see `preprocess`; an empty list stays one.

    A mask becomes 0 and 1.
    """
    pairs = _pairs(record)
    length = record[pairs[0][0]].shape  # after `sample` known, and that of all but empty lists

    def frames(name: str) -> tf.Tensor:
        encoded = tf.ensure_shape(record[name], length)
        images = _decode_images(encoded, 2 if name in FLOW_PAIR else 3)
        return _preprocess_of(name)(images, size, resize)

    def mask() -> tf.Tensor:
        # As an image of 0 and 255: a pixel is the actor's where the mask covers half of it.
        images = _decode_images(tf.ensure_shape(record["mask"], length), 1) * 255
        return tf.cast(preprocess(images, size, resize) > 127, tf.uint8)

    decoded = dict(record)
    for clip, conjugate in pairs:
        decoded[clip] = frames(clip)
        decoded[conjugate] = tf.cond(
            tf.size(record[conjugate]) > 0,
            functools.partial(frames, conjugate),
            lambda none=decoded[clip][:0]: none,
        )
    if "mask" in record:
        no_mask = decoded[pairs[0][0]][:0, ..., :1]
        decoded["mask"] = tf.cond(record["has_mask"], mask, lambda: no_mask)
    return decoded


def _decode_images(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """Images of one size, string [T] -> uint8 [T, H, W, channels]."""

    def decode_one(image: tf.Tensor) -> tf.Tensor:
        if channels == 2:  # two channels cannot be asked for, only found
            return tf.ensure_shape(tf.io.decode_png(image), [None, None, 2])
        return tf.io.decode_image(image, channels, expand_animations=False)

    if encoded.shape[0] is not None:
        # One operation a frame: a loop around it would take as long as copying the frame twice.
        return tf.stack([decode_one(image) for image in tf.unstack(encoded)])
    images = tf.TensorSpec([None, None, channels], tf.uint8)
    return tf.map_fn(decode_one, encoded, fn_output_signature=images)


def complete(record: Tensors, frames: int, draws: Optional[Draws]) -> Tensors:
    """Fills what is missing: the conjugate by the clip or its frozen first frame, the mask by 0."""
    freeze = tf.constant(False) if draws is None else draws.freeze
    times = tf.range(frames)
    stand_in = tf.where(freeze, tf.zeros_like(times), times)
    completed = {**record, "has_conjugate": tf.logical_or(record["has_conjugate"], freeze)}
    for pair in _pairs(record):
        clip, conjugate = (record[name] for name in pair)
        conjugate = tf.cond(
            tf.shape(conjugate)[0] > 0,
            lambda there=conjugate: there,
            lambda clip=clip: tf.gather(clip, stand_in),
        )
        conjugate = tf.ensure_shape(conjugate, [frames, *clip.shape[1:]])
        if pair == FLOW_PAIR and draws is not None:
            conjugate = tf.cond(
                freeze,
                lambda still=conjugate: tf.fill(tf.shape(still), tf.constant(NO_MOTION, tf.uint8)),
                lambda moving=conjugate: moving,
            )
        clip = tf.ensure_shape(clip, [frames, *clip.shape[1:]])
        completed.update(zip(pair, (clip, conjugate)))
    if "mask" in record:
        mask = tf.cond(
            record["has_mask"], lambda: record["mask"], lambda: tf.zeros_like(clip[..., :1])
        )
        completed["mask"] = tf.ensure_shape(mask, [frames, *mask.shape[1:]])
    return completed


def augment(
    record: Tensors,
    size: Tuple[int, int],
    window: Optional[Tuple[int, int]],
    draws: Optional[Draws],
    resize: str,
) -> Tensors:
    """Crops and flips clip, conjugate and mask alike -> the inputs of the model.

    Without a window nothing is cropped. Where the flow is alone, it is the clip.
    """
    crop = flip = None
    if draws is not None:
        crop = Window(*window, draws.y, draws.x) if window else None
        flip = draws.flip
    inputs = {"has_conjugate": record["has_conjugate"], "id": record["id"]}
    if draws is not None and draws.colors is not None:
        inputs[COLORS] = draws.colors  # for the batch
    pairs, stacks = _pairs(record), {}
    for pair in pairs:
        for name, own in zip(pair if len(pairs) > 1 else RGB_PAIR, pair):
            if pair == FLOW_PAIR:
                inputs[name] = preprocess_flow(record[own], size, resize, crop, flip)
            else:
                stacks[name] = record[own]
    if "mask" in record:
        stacks["mask"] = record["mask"]
    inputs.update(zip(stacks, crop_and_flip([*stacks.values()], crop, flip)))
    if "mask" in record:
        inputs.update(mask=tf.squeeze(inputs["mask"], -1), has_mask=record["has_mask"])
    return inputs


def targets(
    labels: tf.Tensor,
    info: DatasetInfo,
    negative_weight: float,
    class_weights: Optional[Sequence[float]],
) -> Tuple[tf.Tensor, tf.Tensor]:
    """Label ids int64 [n] -> (target, sample weight), see `read_dataset`."""
    classes = len(info.labels)
    weights = tf.constant(class_weights or [1.0] * classes, tf.float32)
    if info.multi_label:
        target = tf.minimum(tf.reduce_sum(tf.one_hot(labels, classes), axis=0), 1.0)
        weight = tf.math.divide_no_nan(tf.reduce_sum(target * weights), tf.reduce_sum(target))
        return target, tf.where(tf.reduce_any(target > 0), weight, 1.0)
    target = tf.cast(tf.concat([labels, [classes]], axis=0)[0], tf.int32)
    return target, tf.gather(tf.concat([weights, [negative_weight]], axis=0), target)


def _pairs(record: Tensors) -> List[Tuple[str, str]]:
    """The names of clip and conjugate in a record: frames, flow, or both."""
    return [pair for pair in (RGB_PAIR, FLOW_PAIR) if pair[0] in record]


def _preprocess_of(name: str) -> Callable[..., tf.Tensor]:
    return preprocess_flow if name in FLOW_PAIR else preprocess


# ---- errors --------------------------------------------------------------------------------------


@contextlib.contextmanager
def translate_errors(directory: StrPath) -> Iterator[None]:
    """Wraps whatever iterates over a data set: a corrupt record becomes a UserError.

    TensorFlow's own error does not name the file, so the shards are read once more to find it. An
    error that the records are not to blame for passes unchanged.
    """
    try:
        yield
    except (
        tf.errors.DataLossError,
        tf.errors.InvalidArgumentError,
        tf.errors.FailedPreconditionError,
        tf.errors.NotFoundError,
    ) as error:
        _check_records(directory)
        raise error


def _check_records(directory: StrPath) -> None:
    """Reads and decodes every record; UserError naming the first that cannot be."""
    info = load_info(directory)
    decode = feature_codec.decode_features if info.modality == FEATURES else codec.decode
    for split, counts in info.splits.items():
        found = 0
        for path in shard_paths(directory, info, split) if counts["clips"] else ():
            position = 0
            try:
                for serialized in tf.data.TFRecordDataset(path).as_numpy_iterator():
                    decode(serialized)
                    position += 1
            except (tf.errors.OpError, UserError) as error:
                reason = str(error) if isinstance(error, UserError) else "the file is damaged"
                raise UserError(f"Record {position} of {path} is corrupt: {reason}.") from error
            found += position
        if found != counts["clips"]:
            raise UserError(
                f"Expected {counts['clips']} records in split {split!r} as {INFO_FILE} in "
                f"{directory} says, received {found}; build the data set again."
            )
