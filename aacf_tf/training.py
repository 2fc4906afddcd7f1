"""Trains the stages of a recipe with `model.fit`; a killed run goes on where it stopped.

WORKDIR/checkpoints/<stage>/   one checkpoint an epoch, the last two kept; in best/ the best one on
                               the split `validation`, where there is one
WORKDIR/logs/<stage>/          TensorBoard, and history.json: one entry an epoch
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.own_weights import load_attention
from aacf_tf.backbones.weights import load_stream_weights
from aacf_tf.devices import make_strategy, resolve_precision
from aacf_tf.model import ActionModel, build_model, make_backbone
from aacf_tf.optimizers import make_optimizer
from aacf_tf.recipes import PAIR_HEADS, Recipe, Stage
from tfrecords.dataset import DatasetInfo, load_info
from tfrecords.errors import UsageError, UserError
from tfrecords.files import StrPath, write_json
from tfrecords.filesystem import AnyPath, to_path
from tfrecords.progress import progress
from tfrecords.reader import (
    count_labels,
    count_steps,
    has_masks,
    read_dataset,
    translate_errors,
)

BEST = "best"  # folder of the best checkpoint, below that of the last ones


@dataclass
class Run:
    """What a run works on: a recipe, a data set directory and a working directory."""

    recipe: Recipe
    data: AnyPath
    workdir: Path
    info: DatasetInfo

    @classmethod
    def open(cls, recipe: Recipe, data: StrPath, workdir: str | Path) -> Run:
        """Checks the data set; UserError where it is not one."""
        return cls(recipe, to_path(data), Path(workdir), load_info(data))

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
                "negative_weight": self.recipe.loss.negative,
                "class_weights": self.class_weights if training else None,
                "modality": self.recipe.modality,
                **options,
            },
        )


def train(run: Run, backbone: keras.Model | None = None) -> None:
    """Trains all stages of the run's recipe, or what is left of them.

    Args:
        run: what to train on.
        backbone: one of the recipe's kind, with whose weights to begin; None: the recipe's
            `weights`, or new ones.

    Raises:
        UsageError: the recipe's `weights` do not fit its backbone.
        UserError: a corrupt record, or a loss that is not finite.
    """
    recipe = run.recipe
    run.info.require_split("train")
    if recipe.data.swap and not has_masks(run.data, "train"):  # not after an hour of stage 1
        raise UsageError(
            f"Expected masks of the actor in split 'train' of {run.data} to swap actors by, "
            "received no record with one; add --set data.swap=0 --set data.frozen_conjugates=0.5."
        )
    if recipe.head in PAIR_HEADS and not run.context_learns:
        print(
            "Warning: no clip of 'train' has a conjugate: the context cannot be learned, and "
            f"{recipe.head} is trained on the clips alone."
        )
    keras.utils.set_random_seed(recipe.seed)
    keras.mixed_precision.set_global_policy(resolve_precision(recipe.precision))
    strategy = make_strategy(recipe.strategy)
    with strategy.scope():  # variables made outside of it cannot be trained in it
        backbone = _begin(run, backbone)
    head = None
    for number, stage in enumerate(recipe.stages, start=1):
        title = f"{recipe.name}/{run.head_of(stage)}: stage {number} of {len(recipe.stages)}"
        with strategy.scope():
            model = _train_stage(run, stage, backbone, head, f"{title} ({stage.name})")
        backbone, head = model.backbone, model.head


def _begin(run: Run, given: keras.Model | None) -> keras.Model | None:
    """The backbone of the first stage, with the given weights or the recipe's; None: new ones."""
    recipe = run.recipe
    if given is None and not recipe.weights:
        return None
    backbone = make_backbone(recipe)
    if given is not None:
        # By name: the order of Keras depends on what is trainable.
        values = {variable.name: variable for variable in given.variables}
        for variable in backbone.variables:
            variable.assign(values[variable.name])
    elif not tf.train.latest_checkpoint(str(run.checkpoint_folder(recipe.stages[0]))):
        # What is continued has its own, and need not find the file again.
        print(f"weights  {load_stream_weights(backbone, recipe.weights)}")
    return backbone


def restore(run: Run, stage: Stage, best: bool = True) -> ActionModel:
    """The model of a stage in float32.

    From its best checkpoint; from the last one where there is no best or it is not wanted.

    Raises:
        UsageError: the stage has no checkpoint.
        UserError: the checkpoint is damaged.
    """
    keras.mixed_precision.set_global_policy("float32")
    folder = run.checkpoint_folder(stage)
    last = tf.train.latest_checkpoint(str(folder))
    if last is None:
        raise UsageError(f"Expected a trained model in {folder}, received no checkpoint there.")
    done = int(Path(last).name.rpartition("-")[2])
    if done < stage.epochs:
        print(
            f"Warning: stage {stage.name!r} has been trained for {done} of {stage.epochs} epochs."
        )
    model = run.build(stage)
    path = (best and tf.train.latest_checkpoint(str(folder / BEST))) or last
    _read(tf.train.Checkpoint(**_parts(model)), path)
    return model


def _parts(model: ActionModel) -> dict[str, Any]:
    """What a checkpoint holds of a model: its weights, and no sums of its metrics."""
    return {"backbone": model.backbone, "head": model.head}


def _read(checkpoint: tf.train.Checkpoint, path: str) -> None:
    """Restores everything that the checkpoint's objects hold."""
    try:
        checkpoint.restore(path).assert_existing_objects_matched().expect_partial()
    except Exception as error:  # a damaged file raises anything, IndexError for one
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"Expected the checkpoint {path} to fit the model (it may be damaged, or of an earlier "
            f"version), received: {reason}"
        ) from error


def _train_stage(
    run: Run,
    stage: Stage,
    backbone: keras.Model | None,
    head: keras.layers.Layer | None,
    title: str,
) -> ActionModel:
    """Trains a stage on the backbone and, where it keeps that, the head of the stage before."""
    steps = count_steps(run.info, "train", stage.batch_size, training=True)
    model = run.build(stage, backbone=backbone, steps=steps * stage.epochs)
    if stage.keep_head:
        model.head.set_weights(head.get_weights())
    elif not tf.train.latest_checkpoint(str(run.checkpoint_folder(stage))):
        taken = load_attention(model.head, run.recipe.weights)
        if taken:
            print(taken)
    optimizer = make_optimizer(stage, model, steps * stage.epochs)
    # The model weighs its own loss; an empty list tells Keras that nothing else is weighted.
    model.compile(optimizer=optimizer, weighted_metrics=[])
    epochs = _Epochs(run, stage, steps, title)
    done = epochs.restore(model)
    if done >= stage.epochs:
        print(f"{title}: finished already")
        return model
    batches = run.batches(
        "train",
        stage,
        training=True,
        first_epoch=done,
        epochs=stage.epochs - done,
        cache=run.recipe.data.cache,
    )
    validation = None
    if run.info.splits.get("validation", {}).get("clips"):
        cache = run.recipe.data.cache
        validation = run.batches("validation", stage, training=False, masks=True, cache=cache)
        validation = validation.map(_without_id)
    logs = keras.callbacks.TensorBoard(
        str(run.log_folder(stage)), write_graph=False, update_freq="epoch"
    )
    with translate_errors(run.data):
        model.fit(
            batches.map(_without_id),
            steps_per_epoch=steps,
            epochs=stage.epochs,
            initial_epoch=done,
            validation_data=validation,
            callbacks=[logs, epochs],
            verbose=0,
        )
    return model


def _without_id(inputs: dict[str, tf.Tensor], *rest: tf.Tensor) -> tuple[Any, ...]:
    """Strings cannot be sent to a GPU."""
    return {name: value for name, value in inputs.items() if name != "id"}, *rest


class _Epochs(keras.callbacks.Callback):
    """One line with an ETA for the stage; a checkpoint and the history at the end of each epoch."""

    def __init__(self, run: Run, stage: Stage, steps: int, title: str):
        super().__init__()
        self.stage, self.steps, self.title = stage, steps, title
        # Epochs before all terms act.
        self.first_whole = math.ceil(stage.pairs_first * stage.epochs)
        self.history_file = run.log_folder(stage) / "history.json"
        self.folder = run.checkpoint_folder(stage)
        self.epoch = tf.Variable(0, trainable=False, dtype=tf.int64, name="epoch")
        self.history: list[dict[str, float]] = []

    def restore(self, model: ActionModel) -> int:
        """Restores the last checkpoint, if any; returns the number of epochs done."""
        checkpoint = tf.train.Checkpoint(
            optimizer=model.optimizer, epoch=self.epoch, **_parts(model)
        )
        self.manager = tf.train.CheckpointManager(checkpoint, str(self.folder), max_to_keep=2)
        best = tf.train.Checkpoint(**_parts(model))
        self.best = tf.train.CheckpointManager(best, str(self.folder / BEST), max_to_keep=1)
        if self.manager.latest_checkpoint:
            _read(checkpoint, self.manager.latest_checkpoint)
        done = int(self.epoch.numpy())
        if done and self.history_file.is_file():
            entries = json.loads(self.history_file.read_text(encoding="utf-8"))
            self.history = [entry for entry in entries if entry["epoch"] <= done]
        return done

    def on_train_begin(self, logs: Any = None) -> None:
        done = int(self.epoch.numpy()) * self.steps
        self.bar = progress(
            total=self.steps * self.stage.epochs, initial=done, desc=self.title, unit="step"
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.bar.update()
        if logs and self.bar.n % 10 == 0:
            shown = {name: logs[name] for name in ("loss", "accuracy") if name in logs}
            self.bar.set_postfix({k: f"{v:.3f}" for k, v in shown.items()}, refresh=False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            self.bar.close()
            raise UserError(
                f"Expected a finite {broken[0]} in epoch {epoch + 1} of stage "
                f"{self.stage.name!r}, received {values[broken[0]]}; try a lower --learning_rate."
            )
        self.epoch.assign(epoch + 1)
        self.history.append({"epoch": epoch + 1, **values})
        write_json(self.history_file, self.history)
        if self._is_best():
            self.best.save(checkpoint_number=epoch + 1)
        # Last of all: an epoch without it is done again, and its best with it.
        self.manager.save(checkpoint_number=epoch + 1)

    def _is_best(self) -> bool:
        """Whether the last epoch is the best on `validation`; of equals the later one.

        Judged by the accuracy of the combined score, whatever score is served: validation plays in
        the scenes of training, where by the action score alone an early epoch that goes by the
        scene would win. By the loss where there is no accuracy; never True without a split
        `validation`, nor while only the pair terms act.
        """
        entries = self.history[self.first_whole :]
        for name, sign in (("val_accuracy", 1), ("val_loss", -1)):
            if entries and name in entries[-1]:
                values = [sign * entry[name] for entry in entries]
                return values[-1] >= max(values)
        return False

    def on_train_end(self, logs: Any = None) -> None:
        self.bar.close()
