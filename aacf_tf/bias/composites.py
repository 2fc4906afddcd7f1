"""Writes test sets as data set directories: scenes without actors, actors in other scenes.

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

import numpy as np

from aacf_tf.bias.sets import background_region, choose_scenes, fit_scene, paste
from tfrecords import ClipPair, write_dataset
from tfrecords.conjugates.remove_person import remove_person
from tfrecords.reading.corruption import translate_errors
from tfrecords.records import codec
from tfrecords.records.dataset import INFO_FILE, digest, load_info, shard_paths
from tfrecords.utils.atomic import StrPath, write_json
from tfrecords.utils.errors import UsageError
from tfrecords.utils.progress import progress
from tfrecords.utils.remote.shards import read_records

SCENES_FILE = "scenes.json"
SOURCE_FILE = "source.json"  # digest of the data set they were made of
SEED = 0


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
    directory = Path(str(directory))
    if (directory / INFO_FILE).is_file():
        if json.loads((directory / SOURCE_FILE).read_text(encoding="utf-8")) != digest(data):
            raise UsageError(
                f"Expected test sets made of {data} in {directory}, received those of other data; "
                "remove that folder."
            )
        return directory
    info = load_info(data)
    with translate_errors(data):
        dataset = read_records(shard_paths(data, info, split))
        records = list(dataset.as_numpy_iterator())
        labels = [_load(record, data, split).labels[0] for record in records]
        if len(set(labels)) < 2:
            raise UsageError(
                f"Expected clips of two classes or more in split {split!r} of {data}, "
                f"received {labels[0]!r} alone."
            )
    targets = np.array(labels)[:, None] == np.unique(labels)
    chosen = choose_scenes(targets, np.random.default_rng(SEED))
    scenes = [place for place in chosen if place is not None]  # all, of two classes or more
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
    """Reads the class of the scene of each clip in S: id to class."""
    return json.loads((Path(str(directory)) / SCENES_FILE).read_text(encoding="utf-8"))


def _load(record: bytes, data: StrPath, split: str) -> ClipPair:
    pair = codec.decode(record)
    if pair.mask is None or pair.conjugate is None or len(pair.labels) != 1:
        raise UsageError(
            f"Expected a mask, a conjugate and one label for {pair.id!r} in split {split!r} of "
            f"{data} (built with --conjugate=remove_person), received a record without."
        )
    return pair


def _parts(record: bytes) -> tuple[ClipPair, np.ndarray, np.ndarray]:
    """Decodes a record that `_load` has let pass: it, its mask, its scene."""
    pair = codec.decode(record)
    assert pair.mask is not None and pair.conjugate is not None
    return pair, pair.mask, pair.conjugate


def _pair(pair: ClipPair, clip: np.ndarray) -> ClipPair:
    """Returns the clip with the mask of the pair."""
    origin = pair.mask_origin
    return ClipPair(pair.id, clip, None, pair.labels, pair.fps, pair.mask, mask_origin=origin)


def _without_actors(records: Sequence[bytes]) -> Iterator[ClipPair]:
    for record in progress(records, desc="test set C: actors removed"):
        pair, _, scene = _parts(record)
        yield ClipPair(pair.id, scene, None, pair.labels, pair.fps)


def _in_other_scenes(records: Sequence[bytes], scenes: Sequence[int]) -> Iterator[ClipPair]:
    for record, place in zip(progress(records, desc="test set S: actors in other scenes"), scenes):
        pair, mask, _ = _parts(record)
        _, _, scene = _parts(records[place])
        clip = paste(pair.clip, mask, fit_scene(scene, pair.clip.shape))
        yield _pair(pair, clip)


def _with_filled_regions(records: Sequence[bytes]) -> Iterator[ClipPair]:
    workers = os.cpu_count() or 1
    # Fresh processes: TensorFlow's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        bar = progress(total=len(records), desc="test set P: background removed")
        chunk = 4 * workers  # clips in memory at once
        for start in range(0, len(records), chunk):
            pairs, regions = [], []
            for number, record in enumerate(records[start : start + chunk], start=start):
                pair, mask, _ = _parts(record)
                region = background_region(mask, np.random.default_rng([SEED, number]))
                if region is not None:
                    pairs.append((pair, mask))
                    regions.append(region)
            removed = pool.starmap(
                remove_person, [(pair.clip, region) for (pair, _), region in zip(pairs, regions)], 1
            )
            for (pair, mask), scene in zip(pairs, removed):
                clip = paste(pair.clip, mask, scene)
                yield _pair(pair, clip)
            bar.update(min(chunk, len(records) - start))
        bar.close()
