"""A recipe on a data set in a working directory."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

from aacf_tf.models.action_model import ActionModel
from aacf_tf.models.factory import build_model
from aacf_tf.recipes import PAIR_HEADS, Recipe, Stage
from aacf_tf.runs.mirror import Mirror
from tfrecords.reading.clips import count_labels, has_masks, read_dataset
from tfrecords.reading.features import read_features
from tfrecords.records.dataset import DatasetInfo, load_info, require_flow
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UsageError
from tfrecords.utils.filesystem import AnyPath, to_path


@dataclass
class Run:
    """What a run works on: a recipe, a data set directory and a working directory.

    `mirror` is there where the working directory is kept elsewhere, see `aacf_tf.runs.mirror`.
    `caches`: name of a stage -> the directory of the cached features that it is trained on.
    """

    recipe: Recipe
    data: AnyPath
    workdir: Path
    info: DatasetInfo
    mirror: Mirror | None = None
    caches: dict[str, AnyPath] = field(default_factory=dict)

    @classmethod
    def open(cls, recipe: Recipe, data: StrPath, workdir: str | Path) -> Run:
        """Checks the data set; UserError where it is not one."""
        return cls(recipe, to_path(data), Path(workdir), load_info(data))

    def check_data(self) -> None:
        """Refuses data that the recipe cannot be trained on, not only after an hour of stage 1.

        Raises:
            UsageError: no split `train`; or no optical flow, no masks, no split `validation`
                where the recipe needs them.
        """
        self.info.require_split("train")
        require_flow(self.data, self.info, self.recipe.modality)
        if self.recipe.data.swap and not has_masks(self.data, "train"):
            frozen = " --set data.frozen_conjugates=0.5" if self.recipe.data.frames > 1 else ""
            raise UsageError(
                f"Expected masks of the actor in split 'train' of {self.data} to swap actors by, "
                f"received no record with one; add --set data.swap=0{frozen}."
            )
        for stage in self.recipe.stages:
            if stage.patience and not self.info.splits.get("validation", {}).get("clips"):
                raise UsageError(
                    f"patience of stage {stage.name!r}: expected a split 'validation' in "
                    f"{self.data}, received {', '.join(self.info.splits)}."
                )

    def store(self) -> None:
        """Keeps what is new in the working directory, where that is not its place already."""
        if self.mirror:
            self.mirror.store()

    def address(self, path: Path) -> str:
        """A path below the working directory as the user knows it."""
        return self.mirror.address(str(path)) if self.mirror else str(path)

    def checkpoint_folder(self, stage: Stage) -> Path:
        return self.workdir / "checkpoints" / stage.name

    def log_folder(self, stage: Stage) -> Path:
        return self.workdir / "logs" / stage.name

    def head_of(self, stage: Stage) -> str:
        return self.recipe.head if stage.head == "recipe" else stage.head

    @property
    def context_learns(self) -> bool:
        """Whether training brings any conjugate, from which alone the context learns."""
        pairs = self.info.splits.get("train", {"pairs": 1})["pairs"]
        return pairs > 0 or self.recipe.data.frozen_conjugates > 0

    def build(self, stage: Stage, **options: Any) -> ActionModel:
        """The model of a stage for this data set; `options` go to `build_model`."""
        splits = self.info.splits
        return build_model(
            self.recipe,
            len(self.info.labels),
            stage=stage,
            negatives=any(counts.get("negatives", 0) for counts in splits.values()),
            multi_label=self.info.multi_label,
            context_learns=self.context_learns,
            **options,
        )

    def batch_size(self, stage: Stage, training: bool) -> int:
        """Clips a batch: one where whole frames, which differ in size, are tested."""
        return 1 if self.recipe.data.resize == "whole" and not training else stage.batch_size

    @functools.cached_property
    def class_weights(self) -> list[float] | None:
        """Sample weight of each class in training, see `DataOptions`; None: all alike."""
        if not self.recipe.data.class_weights:
            return None
        counts = count_labels(self.data, "train")
        there = [count for count in counts if count]
        return [sum(there) / (len(there) * max(count, 1)) for count in counts]

    def batches(self, split: str, stage: Stage, training: bool, **options: Any) -> tf.data.Dataset:
        """Batches of a split as this recipe samples and sizes them."""
        data = self.recipe.data
        head = self.head_of(stage)
        swap = data.swap if stage.head == "recipe" else 0.0
        # Where nothing looks at conjugates a repeated frame need not be decoded.
        frozen = data.frozen_conjugates if head in PAIR_HEADS or swap else 1.0
        return read_dataset(
            self.data,
            split,
            data.frames,
            (data.height, data.width),
            self.batch_size(stage, training),
            training,
            self.recipe.seed,
            **{
                "fps": data.fps or None,
                "resize": data.resize,
                "crop": data.crop,
                "flip": data.flip,
                "frozen_conjugates": frozen,
                "swap": swap,
                "jitter": data.jitter,
                "by_file": data.shard == "file",
                "negative_weight": self.recipe.loss.negative,
                "class_weights": self.class_weights if training else None,
                "modality": self.recipe.modality,
                **options,
            },
        )

    def stage_batches(
        self, split: str, stage: Stage, training: bool, **options: Any
    ) -> tf.data.Dataset:
        """Batches that a stage is trained or validated on: frames, or cached features of them."""
        if stage.name not in self.caches:
            return self.batches(split, stage, training, cache=self.recipe.data.cache, **options)
        return read_features(
            self.caches[stage.name],
            split,
            self.batch_size(stage, training),
            training,
            self.recipe.seed,
            map_crop=self.recipe.data.map_crop,
            conjugates=self.head_of(stage) in PAIR_HEADS,
            negative_weight=self.recipe.loss.negative,
            class_weights=self.class_weights if training else None,
            **options,
        )

    def replay(self, stage: Stage, epoch: int, step: int) -> tuple[Any, tf.Tensor, tf.Tensor]:
        """The batch that a step of a stage trains on, read once more; epoch and step count from 1.

        Of a stage on cached features the clips that they were made from, where the run is opened
        anew; with `data.shard=file` on several machines it is another batch.

        Returns:
            inputs (with `id`), targets, sample weights, as `read_dataset`.
        """
        place = {"first_epoch": epoch - 1, "first_step": step - 1, "epochs": 1}
        return next(iter(self.stage_batches("train", stage, training=True, **place)))
