"""Views of every record, for what looks at each once: the cache of a backbone's features.

View 0 is what a test sees, cut to the size of the others; view v >= 1 is what training draws in
epoch v.
"""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

import tensorflow as tf

from tfrecords.reading.order import epoch_key
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
)
from tfrecords.reading.photometric import DRAWN, make_jitter
from tfrecords.reading.preprocess import crop_size
from tfrecords.records.names import RGB_PAIR


def read_views(
    paths: Sequence[str],
    frames: int = 16,
    size: Tuple[int, int] = (64, 64),
    batch_size: int = 8,
    seed: int = 0,
    *,
    views: int = 1,
    fps: Optional[float] = None,
    resize: str = "stretch",
    crop: Optional[float] = None,
    flip: bool = True,
    frozen_conjugates: float = 0.0,
    jitter: float = 0.0,
    masks: bool = False,
    modality: str = "rgb",
) -> tf.data.Dataset:
    """Reads shards, each record's views one after the other, in the order of the records.

    Args:
        paths: of the shards, read one after the other.
        views: how many of each record.
        batch_size: views a batch; the last may be smaller.
        crop: as of `read_dataset` in training, view 0 the centre; None: nothing is cut, whatever
            `resize`: with "whole" batch_size is then 1.
        frames, size, seed, fps, resize, flip, frozen_conjugates, jitter, masks, modality: as of
            `read_dataset`.

    Returns:
        A data set of the inputs of `read_dataset`.
    """
    window = crop_size(size, crop) if crop is not None else None
    colors = jitter > 0 and views > 1 and RGB_PAIR in MODALITIES[modality]
    none = tf.zeros([DRAWN]) if colors else None
    centre = Draws(*tf.fill([3], 0.5), *tf.fill([3], False), none)

    def to_view(serialized: tf.Tensor, view: tf.Tensor) -> Tensors:
        record = parse(serialized, masks, modality)

        def see(draws: Optional[Draws]) -> Tensors:
            seen = decode(sample(record, frames, fps, draws), size, resize)
            return augment(complete(seen, frames, draws), size, window, draws or centre, resize)

        def see_drawn() -> Tensors:
            key = epoch_key(seed, view)
            return see(draw(key, record["id"], flip, frozen_conjugates, 0.0, colors))

        return tf.cond(view == 0, lambda: see(None), see_drawn) if views > 1 else see(None)

    dataset = tf.data.TFRecordDataset(paths).flat_map(
        lambda serialized: tf.data.Dataset.range(views).map(lambda view: (serialized, view))
    )
    dataset = dataset.map(to_view, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size)
    if colors:
        dataset = dataset.map(make_jitter(jitter), num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(1)
