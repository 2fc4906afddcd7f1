"""Caches features: a frozen backbone runs once over the data, heads are trained on its maps.

    DATA-features/<digest>/   a data set directory, see `tfrecords.reading.features`

The cache lies beside the data, not in the run's directory: runs that differ in head, loss or
schedule share it, and it costs hours while an epoch of the head costs minutes. The digest covers
everything that the maps depend on: the data, the sampling and size of clips, the backbone with the
values of its weights, the precision. So a cache is never stale, and one that no run needs can be
deleted. Finished shards are kept: a killed command resumes where it stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from typing import Any, Iterator, List, Optional, Sequence, TypedDict

import numpy as np
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.receptive_field import receptive_field
from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import DataOptions, Stage
from aacf_tf.runs.devices import worker_of
from aacf_tf.runs.run import Run
from tfrecords.build import plan
from tfrecords.reading.corruption import translate_errors
from tfrecords.reading.views import read_views
from tfrecords.records.dataset import (
    FEATURES,
    INFO_FILE,
    ShardEntry,
    digest,
    load_info,
    shard_paths,
)
from tfrecords.records.feature_codec import FeatureInfo, encode_features
from tfrecords.records.names import STREAMS
from tfrecords.records.writer import finish_dataset, write_shard
from tfrecords.utils.atomic import write_json
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import AnyPath, to_path
from tfrecords.utils.json_files import read_json
from tfrecords.utils.progress import progress
from tfrecords.utils.remote.shards import read_records

# Pixels of the clips per batch, without conjugates: 1 of 128 x 256 x 352, 64 of 16 x 112 x 112.
# The backbone's first maps take a hundred times as many bytes.
PIXELS = 1 << 24
MOST_VIEWS = 64  # per batch

Views = Iterator["tuple[np.ndarray, np.ndarray | None, np.ndarray | None]"]


def cache(run: Run, stage: Stage, model: ActionModel, splits: Sequence[str]) -> AnyPath:
    """Returns the directory of cached features; computes those that are missing.

    Args:
        run: Run to cache features for. Its recipe sets the number of views per training clip;
            other splits have one.
        stage: Stage that is trained on them; its head decides if conjugates are needed.
        model: Model of that stage, with a frozen backbone.
        splits: Splits to cache; those without clips are skipped.

    Raises:
        UsageError: Features are missing in a run of several workers, or `data.map_crop` is larger
            than a map.
        UserError: A record is corrupt, features exceed float16, or another process is caching.
    """
    splits = [name for name in splits if run.info.splits.get(name, {}).get("clips")]
    data = run.recipe.data
    *_, rows, columns = receptive_field(model.geometry, (data.frames, data.height, data.width))
    # Whole frames are at least that large, so the smallest map is known in advance.
    if (data.map_crop or 0) > min(rows.size, columns.size):
        raise UsageError(
            f"data.map_crop: expected at most the {rows.size} x {columns.size} cells of "
            f"{data.height} x {data.width} pixels, received {data.map_crop}."
        )
    weights = _digest_weights(model.backbone)
    # A cache with conjugates, made for another head, serves as well.
    needed = run.plan(stage).pairs
    caches = [
        _Cache(run, model, weights, pairs) for pairs in ((True,) if needed else (True, False))
    ]
    for candidate in caches:
        if candidate.holds(splits):
            return candidate.directory
    if worker_of(tf.distribute.get_strategy())[1] > 1:
        raise UsageError(
            "--strategy=multi_worker: expected features that are cached already, received none in "
            f"{caches[-1].directory}; run --mode=features on one machine first."
        )
    caches[-1].make(splits)
    return caches[-1].directory


class _Note(TypedDict):
    """What is noted of a finished shard: its entry in the manifest, the shape of its maps."""

    name: str
    manifest: ShardEntry
    shape: List[Optional[int]]


class _Cache:
    """One directory of features, existing or not."""

    def __init__(self, run: Run, model: ActionModel, weights: str, conjugates: bool):
        self.run, self.model, self.conjugates = run, model, conjugates
        self.data = data = run.recipe.data
        self.views = data.views or 0
        # A map crop replaces the crop of frames; a single view is that of tests.
        self.crop = None if data.map_crop or self.views == 1 else data.crop
        self.made_from = {
            "data": digest(run.data),
            "frames": data.frames,
            "size": [data.height, data.width],
            "fps": data.fps or 0.0,  # as directories are named since there are caches
            "resize": data.resize,
            "modality": run.recipe.modality,
            "backbone": run.recipe.backbone,
            "backbone_options": dict(run.recipe.backbone_options),
            "end_point": model.backbone.output_names[0],
            "weights": weights,
            "precision": model.backbone.output.dtype.name,
            "conjugates": conjugates,
            "views": self.views,
        }
        if self.views > 1:
            self.made_from.update(
                crop=self.crop,
                flip=data.flip,
                frozen_conjugates=data.frozen_conjugates,
                jitter=data.jitter,
                seed=run.recipe.seed,
            )
        text = json.dumps(self.made_from, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.directory = to_path(f"{str(run.data).rstrip('/')}-features/{name}")

    def holds(self, splits: Sequence[str]) -> bool:
        """Returns whether all these splits are cached."""
        if not (self.directory / INFO_FILE).is_file():
            return False
        return {*splits} <= {*load_info(self.directory).splits}

    def make(self, splits: Sequence[str]) -> None:
        """Writes the missing shards, and the files that describe all of them."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"Expected to be allowed to write cached features into {self.directory}, beside "
                f"the data ({error}); copy or link the data to another place, or set data.views "
                "to 0."
            ) from error
        info = self.run.info
        if (self.directory / INFO_FILE).is_file():
            splits = [*load_info(self.directory).splits, *splits]
        splits = [name for name in info.splits if name in splits]
        shards = {n: [*map(to_path, shard_paths(self.run.data, info, n))] for n in splits}
        total = sum(info.splits[name]["clips"] * self._views(name) for name in splits)
        bar = progress(total=total, desc=f"features {self.directory.name}", unit="view")
        notes: dict[str, list[_Note]] = {}
        with plan.alone(self.directory), translate_errors(self.run.data), bar:
            for split, paths in shards.items():
                missing = [path for path in paths if not self._is_there(path)]
                maps = self._maps(split, missing)
                notes[split] = [self._shard(split, path, maps, bar) for path in paths]
        whole = self.data.resize == "whole"
        size = [None, None] if whole else [self.data.height, self.data.width]
        FeatureInfo(
            self.made_from["end_point"],
            self.views,
            self.conjugates,
            {split: _common([n["shape"] for n in notes[split] if n["shape"]]) for split in splits},
            [self.data.frames, *size],
            self.made_from,
        ).write(self.directory)
        finish_dataset(
            self.directory,
            dataclasses.replace(
                info, modality=FEATURES, splits={name: info.splits[name] for name in splits}
            ),
            manifest={
                note["name"]: note["manifest"]
                for split_notes in notes.values()
                for note in split_notes
            },
        )

    def _views(self, split: str) -> int:
        return self.views if split == "train" else 1

    def _note(self, path: AnyPath) -> AnyPath:
        return self.directory / plan.PROGRESS / f"{path.name}.json"

    def _is_there(self, path: AnyPath) -> bool:
        return self._note(path).is_file() and (self.directory / path.name).is_file()

    def _shard(self, split: str, path: AnyPath, maps: Views, bar: Any) -> _Note:
        """Writes a shard from the next maps, if it is missing; returns its notes."""
        if self._is_there(path):
            note = read_json(self._note(path), _Note)
            views = note["manifest"]["records"] * self._views(split)
            # Not by `update`: these views say nothing about the time that the rest will take.
            bar.initial += views
            bar.n = bar.last_print_n = bar.n + views
            return note
        shapes: list[tuple[int, ...]] = []
        entry = write_shard(
            self.directory / path.name, self._records(split, path, maps, shapes, bar)
        )
        note: _Note = {"name": path.name, "manifest": entry, "shape": _common(shapes)}
        write_json(self._note(path), note)  # after the shard, which is rewritten without it
        return note

    def _records(
        self, split: str, path: AnyPath, maps: Views, shapes: list[tuple[int, ...]], bar: Any
    ) -> Iterator[bytes]:
        """Yields a shard's records with the maps of their views; appends the shapes of all maps."""
        for serialized in read_records(str(path)).as_numpy_iterator():
            views = list(itertools.islice(maps, self._views(split)))
            bar.update(len(views))
            clips, conjugates, masks = zip(*views)
            shapes.append(clips[0].shape)
            yield encode_features(
                serialized,
                self.made_from["end_point"],
                clips,
                conjugates if self.conjugates else (),
                masks[0],
            )

    def _maps(self, split: str, paths: Sequence[AnyPath]) -> Views:
        """Yields map, conjugate's map and mask of each view of each record of the shards.

        The last two are None if missing.
        """
        data, train = self.data, split == "train"
        crop = self.crop if train else None
        views = read_views(
            [str(path) for path in paths],
            data.frames,
            (data.height, data.width),
            views_a_batch(data, crop),
            self.run.recipe.seed,
            views=self._views(split),
            fps=data.fps,
            resize=data.resize,
            crop=crop,
            flip=data.flip,
            frozen_conjugates=data.frozen_conjugates if self.conjugates else 1.0,
            jitter=data.jitter,
            masks=not train,
            automatic_masks=True,  # the records say so; whoever reads them decides
            modality=self.run.recipe.modality,
        )
        forward = tf.function(self._forward, input_signature=[views.element_spec])  # one trace
        for inputs in views:
            features = forward(inputs).numpy()
            if not np.isfinite(features).all():
                raise UserError(
                    f"Expected features within float16 (65504) of the clips "
                    f"{', '.join(inputs['id'].numpy().astype(str))}, received greater ones: the "
                    "backbone's weights are broken, or it cannot be cached."
                )
            has_conjugate = inputs["has_conjugate"].numpy()
            conjugates = iter(features[len(has_conjugate) :])
            masks = inputs.get("mask")
            for row, paired in enumerate(has_conjugate):
                yield (
                    features[row],
                    next(conjugates) if paired and self.conjugates else None,
                    masks[row].numpy() if masks is not None and inputs["has_mask"][row] else None,
                )

    def _forward(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns the maps of the clips, followed by those of existing conjugates, in float16."""
        clips = {}
        for stream in STREAMS:
            clip, conjugate = stream.pair
            if clip in inputs:
                clips[clip] = inputs[clip]
                if self.conjugates:
                    conjugates = tf.boolean_mask(inputs[conjugate], inputs["has_conjugate"])
                    clips[clip] = tf.concat([inputs[clip], conjugates], axis=0)
        return tf.cast(self.model.features(clips, pairs=False), tf.float16)


def views_a_batch(data: DataOptions, crop: float | None) -> int:
    """Returns the number of views per batch; whole frames, which differ in size, come one by one.

    Args:
        data: Size of clips.
        crop: Share that is cut out of a view; None: no crop.
    """
    if data.resize == "whole" and crop is None:
        return 1
    return max(1, min(MOST_VIEWS, PIXELS // (data.frames * data.height * data.width)))


def _common(shapes: Sequence[Sequence[int | None]]) -> list[int | None]:
    """Returns the common shape; None for sides that differ."""
    return [sides[0] if len({*sides}) == 1 else None for sides in zip(*shapes)]


def _digest_weights(backbone: keras.Model) -> str:
    """Hashes all variable values, independent of their order."""
    parts = [
        f"{v.name} {v.shape} {hashlib.sha256(v.numpy().tobytes()).hexdigest()}"
        for v in backbone.variables
    ]
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]
