"""Splits a data set for `real.py`: folds of source groups, actors in other scenes.

A source group is what was cut from one video: its clips are no independent tests of each other, so
none is trained on while another is judged. Actors are pasted into scenes of their own fold alone: a
fold that is held out has lent nothing to the training.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from aacf_tf.bias.sets import choose_scenes, fit_scene, paste
from tfrecords import ClipPair, write_dataset
from tfrecords.records import codec
from tfrecords.records.dataset import INFO_FILE, digest, load_info, shard_name, shard_paths
from tfrecords.records.writer import finish_dataset, write_shard
from tfrecords.utils.atomic import StrPath, write_json
from tfrecords.utils.errors import UsageError
from tfrecords.utils.progress import progress

OFFICIAL = "official"  # the split as it is, beside fold0, fold1 ...
SPLITS = ("train", "test")
NOTES_FILE = "notes.json"
TWINS = 2  # swapped versions of a training clip that a frozen backbone sees


def read_groups(path: StrPath | None) -> dict[str, str]:
    """Reads file -> source group from a table with the columns `video` and `source_group`."""
    if not path:
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"video", "source_group"} <= {*rows[0]}:
        raise UsageError(f"--groups: expected columns video and source_group in {path}.")
    return {row["video"]: row["source_group"] for row in rows}


def assign_folds(groups: Sequence[str], labels: Sequence[str], count: int) -> np.ndarray:
    """Assigns records to folds, int `[N]`: whole groups, each class spread as evenly as may be.

    Args:
        groups: Source group of each record.
        labels: Class of each record.
        count: Number of folds.

    Raises:
        UsageError: There are fewer groups than folds.
    """
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    if len(members) < count:
        raise UsageError(f"--folds: expected at most the {len(members)} groups, received {count}.")
    folds, sizes = np.zeros(len(groups), int), [Counter() for _ in range(count)]
    for numbers in sorted(members.values(), key=len, reverse=True):
        counts = Counter(labels[n] for n in numbers)
        common = counts.most_common(1)[0][0]
        fold = min(range(count), key=lambda f: (sizes[f][common], sum(sizes[f].values()), f))
        folds[numbers] = fold
        sizes[fold].update(counts)
    return folds


def compose(data: Path, directory: Path, groups: Mapping[str, str], count: int) -> Path:
    """Writes actors in other scenes beside a data set, unless they are there.

    Splits `train_s` and `test_s` have each clip's actor in the scene of another class;
    `train_twin0` and so on in that of any other clip. `notes.json` has for each of these splits
    the scene and its class by id, and under `folds` the fold of each training record.

    Args:
        data: Data set directory whose clips have masks and conjugates of removed actors.
        directory: Directory to write, under a temporary name first.
        groups: File -> source group; a file that is not in it is a group of its own.
        count: Number of folds.

    Raises:
        UsageError: A clip has no mask or no conjugate, or other data or folds stand there.
    """
    made_of = {"data": digest(data), "folds": count, "groups": sorted(groups.items())}
    made_of = json.loads(json.dumps(made_of))
    if (directory / INFO_FILE).is_file():
        if read_notes(directory)["made_of"] != made_of:
            raise UsageError(
                f"Expected {directory} made of {data} with these folds and groups, received other "
                "ones; remove that folder."
            )
        return directory
    info, splits, notes = load_info(data), {}, {"made_of": made_of}
    for split in SPLITS:
        dataset = tf.data.TFRecordDataset(shard_paths(data, info, split))
        records = list(dataset.as_numpy_iterator())
        pairs = [codec.decode(record) for record in records]
        ids, labels = [pair.id for pair in pairs], [pair.labels[0] for pair in pairs]
        able = np.array([pair.mask is not None and pair.conjugate is not None for pair in pairs])
        if split == "train":
            own = [groups.get(pair.media_id, pair.media_id) for pair in pairs]
            folds = assign_folds(own, labels, count)
            notes["folds"] = {name: int(fold) for name, fold in zip(ids, folds)}
        else:
            folds = np.zeros(len(pairs), int)
        del pairs
        kinds = {f"{split}_s": "other"}
        if split == "train":
            kinds.update({f"train_twin{n}": "random" for n in range(TWINS)})
        targets = np.array(labels)[:, None] == np.unique(labels)
        for seed, (name, kind) in enumerate(kinds.items()):
            scenes = _choose(targets, folds, able, kind, seed)
            splits[name] = _pasted(records, scenes, name)
            notes[name] = {
                ids[n]: {"scene": ids[place], "label": labels[place]}
                for n, place in enumerate(scenes)
                if place is not None
            }
    temporary = directory.with_name(directory.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    write_dataset(temporary, splits, info.labels, num_shards=1, source="composites")
    write_json(temporary / NOTES_FILE, notes)
    os.replace(temporary, directory)
    return directory


def read_notes(directory: Path) -> dict:
    """Reads `notes.json` of `compose`."""
    return json.loads((directory / NOTES_FILE).read_text(encoding="utf-8"))


def write_place(data: Path, composed: Path, place: str, directory: Path) -> Path:
    """Writes a place as a data set of its own, unless it is there: train, test, test_s.

    Args:
        data, composed: Data set directory, and that of `compose`.
        place: OFFICIAL, or foldN: the training records without, and with, that fold.
        directory: Directory to write.
    """
    if (directory / INFO_FILE).is_file():
        return directory
    folds = read_notes(composed)["folds"]
    held = {name for name, fold in folds.items() if place == f"fold{fold}"}
    official = place == OFFICIAL
    parts = {
        "train": (data, "train", lambda name: name not in held),
        "test": (data, "test" if official else "train", lambda name: official or name in held),
        "test_s": (
            composed,
            "test_s" if official else "train_s",
            lambda name: official or name in held,
        ),
    }
    info, counts, manifest = load_info(data), {}, {}
    directory.mkdir(parents=True, exist_ok=True)
    for split, (source, name, chosen) in parts.items():
        paths = shard_paths(source, load_info(source), name)
        records = tf.data.TFRecordDataset(paths).as_numpy_iterator()
        kept = [(record, pair) for record in records if chosen((pair := codec.decode(record)).id)]
        pairs = sum(pair.conjugate is not None for _, pair in kept)
        shard = shard_name(split, 0, 1)
        manifest[shard] = write_shard(directory / shard, (record for record, _ in kept))
        counts[split] = {"shards": 1, "clips": len(kept), "pairs": pairs}
        counts[split].update(negatives=0, skipped=0)
    info.splits, info.warnings = counts, []
    finish_dataset(directory, info, manifest=manifest)
    return directory


def _choose(
    targets: np.ndarray, folds: np.ndarray, able: np.ndarray, kind: str, seed: int
) -> list[int | None]:
    """Chooses each clip's scene within its fold, see `choose_scenes`."""
    chosen: list[int | None] = [None] * len(targets)
    random = np.random.default_rng(seed)
    for fold in np.unique(folds):
        members = np.flatnonzero(folds == fold)
        for n, place in zip(members, choose_scenes(targets[members], random, kind, able[members])):
            if place is not None and able[n]:
                chosen[n] = int(members[place])
    return chosen


def _pasted(
    records: Sequence[bytes], scenes: Sequence[int | None], name: str
) -> Iterator[ClipPair]:
    for record, place in zip(progress(records, desc=name), scenes):
        if place is None:
            continue
        pair, other = codec.decode(record), codec.decode(records[place])
        assert pair.mask is not None and other.conjugate is not None
        clip = paste(pair.clip, pair.mask, fit_scene(other.conjugate, pair.clip.shape))
        yield ClipPair(pair.id, clip, None, pair.labels, pair.fps, pair.mask)
