"""Data sets of any number of records from a few drawn clips, for benchmarks of what costs time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Sequence

import numpy as np

if TYPE_CHECKING:
    from tfrecords.records.clip_pair import ClipPair

QUALITY = 95


def draw_pair(seed: int, frames: int, height: int, width: int, label: str) -> ClipPair:
    """Draws a clip of a box (the actor, with its mask) that walks over a moving texture.

    The conjugate is the same without the box.
    """
    from benchmarks.data import draw_clip
    from tfrecords.records.clip_pair import ClipPair

    scene = draw_clip(seed, frames, height, width)
    mask = np.zeros(scene.shape[:3], bool)
    side = max(1, height // 3)
    for t, left in enumerate(np.linspace(0, width - side, frames).astype(int)):
        mask[t, side : 2 * side, left : left + side] = True
    clip = np.where(mask[..., None], 255 - scene, scene)
    return ClipPair(str(seed), clip, scene, (label,), mask=mask, fps=30.0)


def write_copies(
    directory: Path,
    pairs: Sequence[ClipPair],
    labels: Sequence[str],
    clips: int,
    shards: int = 1,
) -> Path:
    """Writes a data set with one split, `train`, whose records repeat a few pairs.

    Args:
        directory: Data set directory; a finished one is left as it is.
        pairs: Pairs to repeat in turn, with ids of their own.
        labels: class names.
        clips: number of records.
        shards: number of files.
    """
    import tensorflow as tf

    from tfrecords.records import codec, dataset, writer
    from tfrecords.records.names import EXAMPLE_ID

    if (directory / dataset.INFO_FILE).is_file():
        return directory
    ids = {label: index for index, label in enumerate(labels)}
    examples = [
        tf.train.SequenceExample.FromString(codec.encode(pair, ids, "JPEG", QUALITY))
        for pair in pairs
    ]

    def records(first: int) -> Iterator[bytes]:
        for number in range(first, clips, shards):
            example = examples[number % len(examples)]
            name = example.context.feature[EXAMPLE_ID].bytes_list
            name.value[0] = str(number).encode()
            yield example.SerializeToString(deterministic=True)

    manifest = {}
    for index in range(shards):
        name = dataset.shard_name("train", index, shards)
        manifest[name] = writer.write_shard(directory / name, records(index))
    pair = pairs[0]
    counts = {"shards": shards, "clips": clips, "pairs": clips, "negatives": 0, "skipped": 0}
    info = dataset.DatasetInfo(
        "drawn", pair.fps, [*pair.clip.shape[1:3]], [*labels], splits={"train": counts}
    )
    writer.finish_dataset(directory, info, manifest=manifest)
    return directory
