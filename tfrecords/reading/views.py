"""Reads several views of every record, to cache a backbone's features of them.

View 0 is what a test sees, cut to the size of the others; view v >= 1 is what training draws in
epoch v.
"""

from __future__ import annotations

from typing import Any, Optional, Sequence, Tuple

import tensorflow as tf

from tfrecords.reading.options import Augmentation, ClipSpec, route
from tfrecords.reading.order import epoch_key
from tfrecords.reading.phases import (
    Draws,
    Tensors,
    augment,
    complete,
    decode,
    draw,
    parse,
    sample,
)
from tfrecords.reading.photometric import DRAWN, make_jitter
from tfrecords.reading.preprocess import crop_size
from tfrecords.records.names import RGB
from tfrecords.utils.remote.shards import read_records


def read_views(
    paths: Sequence[str],
    frames: int = 16,
    size: Tuple[int, int] = (64, 64),
    batch_size: int = 8,
    seed: int = 0,
    *,
    views: int = 1,
    **options: Any,
) -> tf.data.Dataset:
    """Reads the views of each record one after the other, in the order of the records.

    Args:
        paths: Paths of the shards, read one after the other.
        frames, size, seed: As for `read_dataset`.
        batch_size: Views a batch; the last batch may be smaller.
        views: Number of views of each record.
        **options: Any other field of `ClipSpec` and `Augmentation`, but `swap`. With a `crop`,
            view 0 is the centre. Its default is None here; with "whole" batch_size is then 1.

    Returns:
        A data set of the inputs of `read_dataset`.
    """
    spec, augmentation = route(options, ClipSpec(frames, size), Augmentation(crop=None))
    window = None if augmentation.crop is None else crop_size(size, augmentation.crop)
    colors = augmentation.jitter > 0 and views > 1 and RGB in spec.streams
    centre = Draws.fixed(0.5, 0.5, 0.5, tf.zeros([DRAWN]) if colors else None)

    def to_view(serialized: tf.Tensor, view: tf.Tensor) -> Tensors:
        record = parse(serialized, spec)

        def see(draws: Optional[Draws]) -> Tensors:
            seen = decode(sample(record, spec, draws), spec)
            return augment(complete(seen, spec, draws), spec, window, draws or centre)

        def see_drawn() -> Tensors:
            return see(draw(epoch_key(seed, view), record["id"], augmentation, colors))

        return tf.cond(view == 0, lambda: see(None), see_drawn) if views > 1 else see(None)

    dataset = read_records(paths).flat_map(
        lambda serialized: tf.data.Dataset.range(views).map(lambda view: (serialized, view))
    )
    dataset = dataset.map(to_view, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size)
    if colors:
        change = make_jitter(augmentation.jitter)
        dataset = dataset.map(change, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(1)
