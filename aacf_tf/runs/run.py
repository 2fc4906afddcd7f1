"""A recipe on a data set in a working directory."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from aacf_tf.models.action_model import ActionModel
from aacf_tf.models.factory import build_model
from aacf_tf.recipes import Recipe, Stage, StagePlan, plan_stage
from aacf_tf.recipes.options import REMEDY_TERMS
from aacf_tf.runs.mirror import Mirror
from tfrecords.reading.clips import count_labels, count_steps, has_masks, read_dataset
from tfrecords.reading.features import read_features
from tfrecords.records.dataset import DatasetInfo, load_info, require_flow
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import AnyPath, to_path

STILLS_FILE = Path("stillmix", "frames.npy")


def read_stills(path: Path) -> np.ndarray:
    """Reads the frames of a `STILLS_FILE`, uint8 `[M, h, w, 3]`; UserError if it is damaged."""
    try:
        frames = np.load(path, mmap_mode="r")  # compares the size with the file's before it reads
        if frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3:
            return np.array(frames)
        reason = f"{frames.dtype} {list(frames.shape)}"
    except (ValueError, EOFError) as error:
        reason = str(error).splitlines()[0]
    raise UserError(f"{path}: expected frames, received a damaged file ({reason}); remove it.")


@dataclass
class Run:
    """A recipe, a data set directory and a working directory.

    Attributes:
        recipe: What to train.
        data: Data set directory.
        workdir: Working directory.
        info: Description of the data set.
        mirror: Mirror of a remote working directory (`aacf_tf.runs.mirror`).
        caches: Name of a stage -> directory of the cached features that it is trained on.
        stills: Frames that `data.stillmix` mixes in
            (`aacf_tf.training.preparation.still_frames`); None: those of the working directory.
    """

    recipe: Recipe
    data: AnyPath
    workdir: Path
    info: DatasetInfo
    mirror: Mirror | None = None
    caches: dict[str, AnyPath] = field(default_factory=dict)
    stills: np.ndarray | None = None

    @classmethod
    def open(cls, recipe: Recipe, data: StrPath, workdir: str | Path) -> Run:
        """Opens a run; UserError if `data` is no data set."""
        return cls(recipe, to_path(data), Path(workdir), load_info(data))

    def check_data(self) -> None:
        """Checks up front that the data set has everything that the recipe needs.

        Raises:
            UsageError: There is no split `train`, or no optical flow, no masks or no split
                `validation` although the recipe needs them.
        """
        self.info.require_split("train")
        require_flow(self.data, self.info, self.recipe.modality)
        if self.recipe.data.swap and not has_masks(self.data, "train"):
            frozen = " --set data.frozen_conjugates=0.5" if self.recipe.data.frames > 1 else ""
            raise UsageError(
                f"Expected masks of the actor in split 'train' of {self.data} to swap actors by, "
                f"received no record with one; add --set data.swap=0{frozen}."
            )
        if self.recipe.loss.human_mask and not has_masks(self.data, "train"):
            raise UsageError(
                f"Expected masks of the actor in split 'train' of {self.data} for loss.human_mask, "
                "received no record with one; add --set loss.human_mask=0."
            )
        for stage in self.recipe.stages:
            if stage.patience and not self.info.splits.get("validation", {}).get("clips"):
                raise UsageError(
                    f"patience of stage {stage.name!r}: expected a split 'validation' in "
                    f"{self.data}, received {', '.join(self.info.splits)}."
                )

    def store(self) -> None:
        """Uploads new files if the working directory is remote."""
        if self.mirror:
            self.mirror.store()

    def address(self, path: Path) -> str:
        """Returns a path below the working directory as the user knows it."""
        return self.mirror.address(str(path)) if self.mirror else str(path)

    def checkpoint_folder(self, stage: Stage) -> Path:
        """Returns the folder of a stage's checkpoints."""
        return self.workdir / "checkpoints" / stage.name

    def log_folder(self, stage: Stage) -> Path:
        """Returns the folder of a stage's history and TensorBoard logs."""
        return self.workdir / "logs" / stage.name

    def plan(self, stage: Stage) -> StagePlan:
        """Returns a stage as it is trained on this data set."""
        steps = 0  # of data sets that can be evaluated but not trained on
        if self.info.splits.get("train", {}).get("clips"):
            steps = count_steps(self.info, "train", stage.batch_size, training=True)
        return plan_stage(self.recipe, stage, steps * stage.epochs)

    @property
    def context_learns(self) -> bool:
        """Whether any training clip has a conjugate, the only source of the context."""
        pairs = self.info.splits.get("train", {"pairs": 1})["pairs"]
        return pairs > 0 or self.recipe.data.frozen_conjugates > 0

    def build(self, stage: Stage, **options: Any) -> ActionModel:
        """Builds the model of a stage for this data set; `options` go to `build_model`."""
        splits = self.info.splits
        return build_model(
            self.recipe,
            len(self.info.labels),
            **{
                "stage": stage,
                "steps": self.plan(stage).steps,
                "negatives": any(counts.get("negatives", 0) for counts in splits.values()),
                "multi_label": self.info.multi_label,
                "context_learns": self.context_learns,
                **options,
            },
        )

    @functools.cached_property
    def class_weights(self) -> list[float] | None:
        """Sample weight of each class in training (see `DataOptions`); None: equal weights."""
        if not self.recipe.data.class_weights:
            return None
        counts = count_labels(self.data, "train")
        present = [count for count in counts if count]
        return [sum(present) / (len(present) * max(count, 1)) for count in counts]

    def batches(self, split: str, stage: Stage, training: bool, **options: Any) -> tf.data.Dataset:
        """Returns batches of a split, sampled and resized by the recipe."""
        data, plan = self.recipe.data, self.plan(stage)
        return read_dataset(
            self.data,
            split,
            data.frames,
            (data.height, data.width),
            stage.batch_size if training else plan.test_batch_size,
            training,
            self.recipe.seed,
            **{
                "fps": data.fps,
                "resize": data.resize,
                "crop": data.crop,
                "flip": data.flip,
                "frozen_conjugates": plan.frozen_conjugates,
                "swap": plan.swap,
                "fame": plan.fame,
                "stillmix": plan.stillmix,
                **{term: term in plan.loss_weights for term in REMEDY_TERMS},
                "stills": self._find_stills() if training and plan.stillmix else None,
                "jitter": data.jitter,
                "by_file": data.shard == "file",
                "negative_weight": self.recipe.loss.negative,
                "class_weights": self.class_weights if training else None,
                "modality": self.recipe.modality,
                "automatic_masks": self.recipe.automatic_masks,
                **options,
            },
        )

    def _find_stills(self) -> np.ndarray:
        """Returns the frames that are mixed in."""
        path = self.workdir / STILLS_FILE
        if self.stills is None and not path.is_file():
            raise UsageError(f"data.stillmix: expected the frames {path} of training, found none.")
        return read_stills(path) if self.stills is None else self.stills

    def stage_batches(
        self, split: str, stage: Stage, training: bool, **options: Any
    ) -> tf.data.Dataset:
        """Returns batches that a stage is trained or validated on: frames or cached features."""
        if stage.name not in self.caches:
            return self.batches(split, stage, training, cache=self.recipe.data.cache, **options)
        plan = self.plan(stage)
        return read_features(
            self.caches[stage.name],
            split,
            stage.batch_size if training else plan.test_batch_size,
            training,
            self.recipe.seed,
            map_crop=self.recipe.data.map_crop or 0,
            conjugates=plan.pairs,
            negative_weight=self.recipe.loss.negative,
            class_weights=self.class_weights if training else None,
            automatic_masks=self.recipe.automatic_masks,
            **options,
        )

    def replay(self, stage: Stage, epoch: int, step: int) -> tuple[Any, tf.Tensor, tf.Tensor]:
        """Returns the batch of a training step, for debugging; epoch and step count from 1.

        If the run has been opened anew, a stage on cached features gives the clips they were made
        from. With `data.shard=file` on several machines the batch differs.

        Returns:
            Inputs (with `id`), targets and sample weights, as `read_dataset`.
        """
        position = {"first_epoch": epoch - 1, "first_step": step - 1, "epochs": 1}
        return next(iter(self.stage_batches("train", stage, training=True, **position)))
