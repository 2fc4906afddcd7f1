"""Reads records of clips as batches, by a tf.data pipeline in named phases.

    list      lists the shards of a split; in training, their order and that of the records is drawn
              anew for each epoch (`tfrecords.reading.order`)
    parse     record -> encoded frames
    draw      draws one time offset, crop and flip a record, for clip and conjugate alike
    sample    selects frames before they are decoded, so that no frame is decoded in vain
    decode    JPEG or PNG -> uint8, and uint8 to the end, since floats take four times as long to
              copy; resizes (`tfrecords.reading.preprocess`)
    complete  fills in a missing conjugate or mask
    augment   crops and flips
    batch
    swap      in training, if asked for: pastes the actor of a clip into the scene of its neighbour
              in the batch (`tfrecords.reading.remedies.swap`)
    jitter    in training, if asked for: changes light and colours (`tfrecords.reading.photometric`)
    remedies  in training, if asked for: against scene bias (`tfrecords.reading.remedies`)

With `cache` the frames of every record are decoded and resized before sampling, and kept.

What is drawn for a record is a stateless function of (seed, epoch, id of the record), independent
of the other records; the order is a function of (seed, epoch), and the partners of a swap follow
from the order. A run that resumes at epoch N therefore reads what the undisturbed run would have
read, without decoding what it skips.

A clip, a conjugate, a mask: [T, H, W, 3], [T, H, W, 3], [T, H, W] in time, height and width.
Optical flow, [T, H, W, 2], passes every phase as the frames do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, List, Optional, Tuple, Union

import tensorflow as tf

from tfrecords.reading.corruption import translate_errors
from tfrecords.reading.options import Augmentation, ClipSpec, SampleWeights, Schedule, route
from tfrecords.reading.order import assert_cardinality, finish, list_records, shuffle_epochs
from tfrecords.reading.phases import (
    Draws,
    Tensors,
    augment,
    check_labels,
    complete,
    decode,
    draw,
    parse,
    sample,
    targets,
)
from tfrecords.reading.photometric import make_jitter
from tfrecords.reading.preprocess import crop_size
from tfrecords.reading.remedies.batch import apply_remedies
from tfrecords.reading.remedies.swap import swap_actors
from tfrecords.records import codec
from tfrecords.records.checking import check_records
from tfrecords.records.dataset import (
    DatasetInfo,
    load_info,
    require_flow,
    require_frames,
    shard_paths,
)
from tfrecords.records.names import RGB
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UsageError
from tfrecords.utils.remote.shards import read_records


def read_dataset(
    directory: StrPath,
    split: str,
    frames: int = 16,
    size: Tuple[int, int] = (64, 64),
    batch_size: int = 8,
    training: bool = True,
    seed: int = 0,
    *,
    view: Optional[Tuple[float, Optional[float], Optional[float]]] = None,
    cache: bool = False,
    stills: Optional[tf.Tensor] = None,
    **options: Any,
) -> tf.data.Dataset:
    """Reads a split as batches of (inputs, targets, sample_weights).

    Args:
        directory: Data set directory.
        split: Name of the split, such as "train".
        frames, size: Number of frames and (height, width), see `ClipSpec`.
        batch_size: Pairs a batch. Training drops the clips left over in each epoch (a split smaller
            than a batch is one batch); test keeps them.
        training: Whether to shuffle, with a random start, crop and flip, the same for both clips of
            a pair; otherwise in order, the centre of the clip, the whole frame.
        seed: Seed of all that is random.
        view: Position of one view, in a test of several: its start in the clip's free time, the
            crop's top and left in the free room, each 0..1; the last two None: the whole frame.
            None: the centre, the whole frame.
        cache: Whether to keep all frames of the split in memory, decoded and resized (height x
            width x 3 bytes each; for small data sets).
        stills: Frames of the clips' size for `stillmix`, uint8 [M, h, w, 3].
        **options: Any other field of `ClipSpec` (`fps`, `resize`, `modality`, `masks`,
            `automatic_masks`), `Augmentation` (`crop`, `flip`, `frozen_conjugates`, `swap`, `fame`,
            `stillmix`, `background_erasing`, `human_mask`, `jitter`), `Schedule` (`first_epoch`,
            `first_step`, `epochs`, `worker`, `by_file`, `shuffle_buffer`) and `SampleWeights`
            (`negative_weight`, `class_weights`), see `tfrecords.reading.options`.

    Returns:
        A finite data set. inputs: clip, conjugate uint8 [B, T, h, w, 3]; has_conjugate bool [B] (a
        missing conjugate is a copy of the clip); id string [B]; two_stream: flow, conjugate_flow
        uint8 [B, T, h, w, 2] too (flow: clip and conjugate are these); with `masks`: mask uint8
        [B, T, h, w] of 0 and 1, has_mask bool [B]; with `swap` in training: swapped bool [B] and
        context_target, as targets: the class that the scene belongs to; for remedies the views
        `erased` and `masked` like the clips and person bool [B], see `tfrecords.reading.remedies`.
        targets: int32 [B], K = the number of classes for a clip without a label; multi-label data:
        float32 [B, K] of 0 and 1. sample_weights: float32 [B].

    Raises:
        UserError: There is no such data set or split, or `swap` or `human_mask` finds no record
            with a mask; while iterating, inside `translate_errors`: a record is corrupt.
        ValueError: A number is out of its range.
        TypeError: An option is not known.
    """
    if batch_size < 1:
        raise ValueError(f"Expected batch_size of 1 or more. Received batch_size={batch_size}.")
    spec, augmentation, schedule, weights = route(
        options, ClipSpec(frames, size), Augmentation(), Schedule(seed), SampleWeights()
    )
    if spec.resize == "whole" and not training and batch_size > 1:
        raise ValueError(
            "Expected batch_size=1 for whole frames, which differ in size. "
            f"Received batch_size={batch_size}."
        )
    info = load_info(directory)
    require_frames(directory, info)
    require_flow(directory, info, spec.modality)
    paths = shard_paths(directory, info, split)
    clips = info.splits[split]["clips"]
    steps = count_steps(info, split, batch_size, training)
    batch_size = min(batch_size, clips)
    share = schedule.share(batch_size)
    crop = augmentation.crop if training or view else None
    if view is not None and view[1] is None:
        crop = None
    window = None if crop is None else crop_size(size, crop)
    chosen = Draws.fixed(*view) if view else None
    keep_masks, swaps = spec.masks, training and augmentation.swap > 0
    remedies, by_mask = training and augmentation.remedies, ()
    if training:
        used = {"data.swap": augmentation.swap, "loss.human_mask": augmentation.human_mask}
        by_mask = tuple(name for name, value in used.items() if value)
    if by_mask:
        spec = replace(spec, masks=True, automatic_masks=True)
        if not has_masks(directory, split):
            raise UsageError(
                f"Expected masks of the actor in split {split!r} of {directory} for {by_mask[0]}, "
                f"received no record with one; set {by_mask[0]} to 0."
            )
    if training and augmentation.stillmix:
        if stills is None:
            raise ValueError("Expected stills with stillmix. Received none.")
        stills = tf.convert_to_tensor(stills)  # captured; an array would be part of the graph
    colors = training and augmentation.jitter > 0 and RGB in spec.streams

    def read(serialized: tf.Tensor) -> Tensors:
        record = check_labels(parse(serialized, spec), info)
        target, weight = targets(record["labels"], info, weights)
        return {**record, "target": target, "weight": weight}

    # No Python control flow needs converting, and the conversion would take seconds.
    @tf.autograph.experimental.do_not_convert
    def load(serialized: tf.Tensor) -> Tensors:
        return decode(read(serialized), spec)

    @tf.autograph.experimental.do_not_convert
    def to_row(
        item: Union[Tensors, tf.Tensor], key: Optional[tf.Tensor] = None
    ) -> Tuple[Tensors, tf.Tensor, tf.Tensor]:
        """Makes a row of a batch of a record, loaded or serialised; key: the epoch's, if any."""
        record = item if cache else read(item)
        draws = chosen
        if key is not None:
            draws = draw(key, record["id"], augmentation, colors)
        record = sample(record, spec, draws)
        if not cache:
            record = decode(record, spec)
        inputs = augment(complete(record, spec, draws), spec, window, draws)
        if swaps and draws is not None:
            inputs.update(swap=draws.swap, own_conjugate=record["own_conjugate"])
        return inputs, record["target"], record["weight"]

    total = schedule.batches(steps)
    number, workers = schedule.worker
    own_files = schedule.by_file and training and 1 < workers <= len(paths)
    if own_files:
        paths, batch_size = paths[number::workers], share
        schedule = replace(schedule, worker=(0, 1))
    if cache:
        cached = list_records(paths).map(load, num_parallel_calls=tf.data.AUTOTUNE).cache()
        # + 1: the shuffle then reads to the end, which completes the cache.
        schedule = replace(schedule, shuffle_buffer=clips + 1)

    def records(key: Optional[tf.Tensor] = None) -> tf.data.Dataset:
        return cached if cache else list_records(paths, key)

    if training:
        dataset = shuffle_epochs(records, schedule, batch_size, steps, own_files)
    else:
        dataset = records().apply(assert_cardinality(clips))
    dataset = dataset.map(to_row, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(share if training else batch_size)
    if swaps:
        dataset = dataset.map(
            lambda *batch: swap_actors(*batch, keep_masks=keep_masks or augmentation.human_mask),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    if colors:
        change = make_jitter(augmentation.jitter)
        dataset = dataset.map(
            lambda inputs, *rest: (change(inputs), *rest), num_parallel_calls=tf.data.AUTOTUNE
        )
    if remedies:
        dataset = dataset.map(
            lambda inputs, *rest: (apply_remedies(inputs, augmentation, stills, keep_masks), *rest),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    if not training:
        dataset = dataset.repeat(schedule.epochs or 1)
    return finish(dataset, total)


def count_steps(info: DatasetInfo, split: str, batch_size: int, training: bool) -> int:
    """Returns the batches in one epoch of `read_dataset`; UserError if the split has no clips."""
    clips = info.require_split(split)["clips"]
    return max(1, clips // batch_size) if training else -(-clips // batch_size)


def has_masks(directory: StrPath, split: str, automatic: bool = True) -> bool:
    """Returns whether any record of a split has a mask; reads up to the first that has one.

    Args:
        directory, split: Data set directory and name of the split.
        automatic: Whether masks that a program found count; default True.
    """
    paths = shard_paths(directory, load_info(directory), split)
    sizes = read_records(paths).map(
        lambda record: tf.size(codec.known_masks(codec.parse(record), automatic))
    )
    with translate_errors(directory):
        return any(size > 0 for size in sizes.as_numpy_iterator())


def count_labels(directory: StrPath, split: str) -> List[int]:
    """Counts the records of each class in a split; reads them all, but decodes no frame."""
    info = load_info(directory)
    records = read_records(shard_paths(directory, info, split))
    labels = records.map(lambda record: codec.parse(record, masks=False, streams=())["labels"])
    counts = [0] * len(info.labels)
    with translate_errors(directory):
        for ids in labels.as_numpy_iterator():
            for number in ids:
                if not 0 <= number < len(counts):
                    check_records(directory)
                counts[number] += 1
    return counts
