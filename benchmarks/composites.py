"""Test sets that take a clip apart: actor without scene, scene without actor.

From the clips X of a test split, each with its actor's mask and, as conjugate, its scene with the
actor removed and filled, come the splits of another data set directory:

    test_c   C: the actor removed and filled: nobody should do well there
    test_s   S: the actor pasted on the C of a clip of another class
    test_p   P: the actor kept, a region of the background removed and filled in the same way: who
             looks for the traces of filling, not for the actor, takes it for C

and scenes.json: id of a clip in S -> the class of the clip whose scene it stands in.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Iterator, Sequence

import cv2
import numpy as np
import tensorflow as tf

from tfrecords import ClipPair, write_dataset
from tfrecords.conjugates.remove_person import DILATION, remove_person
from tfrecords.reading.corruption import translate_errors
from tfrecords.reading.swap import soften
from tfrecords.records import codec
from tfrecords.records.dataset import INFO_FILE, digest, load_info, shard_paths
from tfrecords.utils.atomic import StrPath, write_json
from tfrecords.utils.errors import UsageError
from tfrecords.utils.progress import progress

SCENES_FILE = "scenes.json"
SOURCE_FILE = "source.json"  # digest of the data set they were made of
SEED = 0
# A region of P shows at least this share of the actor's area, or the clip is left out of P.
LEAST_REGION = 0.1


def build_composites(data: StrPath, directory: StrPath, split: str = "test") -> Path:
    """Writes C, S and P of a data set's test split, unless they are there.

    Frames keep the size of the records; what the model sees is resized by the reader, as X is.

    Args:
        data: data set directory whose clips have masks and conjugates of removed actors.
        directory: Directory to write, under a temporary name first.
        split: Split of `data`, with single-label clips.

    Returns:
        the directory.

    Raises:
        UsageError: a clip has no mask or no conjugate, or all are of one class.
    """
    directory = Path(directory)
    if (directory / INFO_FILE).is_file():
        if json.loads((directory / SOURCE_FILE).read_text(encoding="utf-8")) != digest(data):
            raise UsageError(
                f"Expected test sets made of {data} in {directory}, received those of other data; "
                "remove that folder."
            )
        return directory
    info = load_info(data)
    with translate_errors(data):
        dataset = tf.data.TFRecordDataset(shard_paths(data, info, split))
        records = list(dataset.as_numpy_iterator())
        labels = [_load(record, data, split).labels[0] for record in records]
        if len(set(labels)) < 2:
            raise UsageError(
                f"Expected clips of two classes or more in split {split!r} of {data}, "
                f"received {labels[0]!r} alone."
            )
    scenes = choose_scenes(labels, np.random.default_rng(SEED))
    temporary = directory.with_name(directory.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    splits = {
        "test_c": _without_actors(records),
        "test_s": _in_other_scenes(records, scenes),
        "test_p": _with_filled_regions(records),
    }
    write_dataset(temporary, splits, info.labels, num_shards=1, source="composites")
    ids = [codec.decode(record).id for record in records]
    write_json(temporary / SOURCE_FILE, digest(data))
    write_json(temporary / SCENES_FILE, {n: labels[j] for n, j in zip(ids, scenes)})
    os.replace(temporary, directory)
    return directory


def load_scenes(directory: StrPath) -> dict[str, str]:
    """Id of a clip in S -> the class of its scene."""
    return json.loads((Path(directory) / SCENES_FILE).read_text(encoding="utf-8"))


def choose_scenes(labels: Sequence[str], random: np.random.Generator) -> list[int]:
    """For each clip the number of one of another class, whose scene it gets."""
    names = np.asarray(labels)
    return [int(random.choice(np.flatnonzero(names != name))) for name in names]


def paste(clip: np.ndarray, mask: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """Lays the masked actor on a scene, with the soft edge that training swaps have.

    uint8 [T, H, W, 3], bool [T, H, W], uint8 [T, H, W, 3] -> uint8 [T, H, W, 3].
    """
    alpha = soften(tf.constant(mask[None].astype(np.uint8)))[0].numpy()[..., None]
    return np.rint(alpha * clip + (1 - alpha) * scene).astype(np.uint8)


def fit_scene(scene: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A scene in the length, height and width of a clip: cut, or its last frame repeated."""
    length, height, width = shape[:3]
    frames = scene[np.minimum(np.arange(length), len(scene) - 1)]
    if frames.shape[1:3] == (height, width):
        return frames
    # Averages over what it shrinks; area interpolation of an enlargement is bilinear.
    return np.stack([cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in frames])


def background_region(mask: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """The actor's mask, moved to where it does not touch the actor: bool [T, H, W].

    One random shift for all frames that leaves half of it or more in the picture and keeps clear of
    the actor by what `remove_person` lets a hole grow. Where none does (large actors), the shift
    with the most free area, the rest cut away; None where next to nothing is free.
    """
    radius = max(2, round(DILATION * min(mask.shape[1:])))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    taken = np.stack([cv2.dilate(frame.astype(np.uint8), disc) > 0 for frame in mask])
    padded = tuple(2 * side for side in mask.shape[1:])  # shifts of either sign
    moved = np.conj(np.fft.rfft2(mask, padded))

    def overlap(other: np.ndarray) -> np.ndarray:
        """Pixels of the shifted mask on `other`, for every shift, modulo `padded`."""
        product = (np.fft.rfft2(other, padded) * moved).sum(axis=0)
        return np.rint(np.fft.irfft2(product, padded))

    inside, touching = overlap(np.ones_like(mask)), overlap(taken)
    area = mask.sum()
    free = np.flatnonzero((touching == 0) & (inside >= area / 2))
    place = random.choice(free) if free.size else np.argmax(inside - touching)
    shift = np.array(np.unravel_index(place, padded))
    shift = np.where(shift >= mask.shape[1:], shift - padded, shift)
    matrix = np.array([[1, 0, shift[1]], [0, 1, shift[0]]], float)
    size = mask.shape[2], mask.shape[1]
    region = np.stack([cv2.warpAffine(f.astype(np.uint8), matrix, size) > 0 for f in mask])
    region &= ~taken
    return region if region.sum() > LEAST_REGION * area else None


def _load(record: bytes, data: StrPath, split: str) -> ClipPair:
    pair = codec.decode(record)
    if pair.mask is None or pair.conjugate is None or len(pair.labels) != 1:
        raise UsageError(
            f"Expected a mask, a conjugate and one label for {pair.id!r} in split {split!r} of "
            f"{data} (built with --conjugate=remove_person), received a record without."
        )
    return pair


def _without_actors(records: Sequence[bytes]) -> Iterator[ClipPair]:
    for record in progress(records, desc="test set C: actors removed"):
        pair = codec.decode(record)
        yield ClipPair(pair.id, pair.conjugate, None, pair.labels, pair.fps)


def _in_other_scenes(records: Sequence[bytes], scenes: Sequence[int]) -> Iterator[ClipPair]:
    for record, place in zip(progress(records, desc="test set S: actors in other scenes"), scenes):
        pair = codec.decode(record)
        scene = fit_scene(codec.decode(records[place]).conjugate, pair.clip.shape)
        clip = paste(pair.clip, pair.mask, scene)
        yield ClipPair(pair.id, clip, None, pair.labels, pair.fps, pair.mask)


def _with_filled_regions(records: Sequence[bytes]) -> Iterator[ClipPair]:
    workers = os.cpu_count() or 1
    # Fresh processes: TensorFlow's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        bar = progress(total=len(records), desc="test set P: background removed")
        chunk = 4 * workers  # clips in memory at once
        for start in range(0, len(records), chunk):
            pairs, regions = [], []
            for number, record in enumerate(records[start : start + chunk], start=start):
                pair = codec.decode(record)
                region = background_region(pair.mask, np.random.default_rng([SEED, number]))
                if region is not None:
                    pairs.append(pair)
                    regions.append(region)
            removed = pool.starmap(
                remove_person, [(pair.clip, region) for pair, region in zip(pairs, regions)], 1
            )
            for pair, scene in zip(pairs, removed):
                clip = paste(pair.clip, pair.mask, scene)
                yield ClipPair(pair.id, clip, None, pair.labels, pair.fps, pair.mask)
            bar.update(min(chunk, len(records) - start))
        bar.close()
