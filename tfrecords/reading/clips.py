"""Records in, batches out: a tf.data pipeline in named phases.

    list    the shards of a split; in training their order and that of the records is drawn anew
            for each epoch (`tfrecords.reading.order`)
    parse   record -> encoded frames
    draw    one time offset, crop, flip a record, for clip and conjugate alike
    sample  which frames: before decoding, so that no frame is decoded in vain
    decode  JPEG or PNG -> uint8, and uint8 to the end: four times less to copy than float; and
            resize (`tfrecords.reading.preprocess`)
    complete  what is missing: a conjugate, a mask
    augment crop and flip
    batch
    swap    in training, if asked for: the actor of a clip pasted into the scene of its neighbour in
            the batch (`tfrecords.reading.swap`)
    jitter  in training, if asked for: other light and colours (`tfrecords.reading.photometric`)

With `cache` the frames of every record are decoded and resized before sampling, and kept.

What is drawn for a record is a stateless function of (seed, epoch, id of the record), whatever
stands beside it in the data set; the order is one of (seed, epoch). A run that resumes at epoch N
reads what the undisturbed run would have read, without decoding what it skips. So are the partners
of a swap: they follow from the order.

A clip, a conjugate, a mask: [T, H, W, 3], [T, H, W, 3], [T, H, W] in time, height and width;
optical flow [T, H, W, 2], which goes the way of the frames through every phase.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple, Union

import tensorflow as tf

from tfrecords.reading.corruption import translate_errors
from tfrecords.reading.order import (
    Epochs,
    assert_cardinality,
    list_records,
    shuffle_epochs,
)
from tfrecords.reading.phases import (
    MODALITIES,
    Draws,
    Tensors,
    augment,
    complete,
    decode,
    draw,
    parse,
    sample,
    targets,
)
from tfrecords.reading.photometric import make_jitter
from tfrecords.reading.preprocess import (
    crop_size,
)
from tfrecords.reading.swap import swap_actors
from tfrecords.records import codec
from tfrecords.records.dataset import (
    DatasetInfo,
    load_info,
    require_flow,
    require_frames,
    shard_paths,
)
from tfrecords.records.names import RGB_PAIR
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UsageError


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
            neighbour in the batch, which becomes their conjugate too (see
            `tfrecords.reading.swap`); needs masks. Less often where the neighbour's conjugate is
            missing or a frozen frame.
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
