"""Builds the model of a stage as training begins it, or from its checkpoints."""

from __future__ import annotations

import logging

import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.two_stream import copy_weights
from aacf_tf.models.action_model import ActionModel
from aacf_tf.models.factory import make_backbone
from aacf_tf.recipes import Stage
from aacf_tf.runs.checkpoints import BEST, epochs_in, parts, read
from aacf_tf.runs.devices import keras_policy, make_strategy, resolve_precision
from aacf_tf.runs.directory import read_history
from aacf_tf.runs.run import Run
from aacf_tf.training.history import stops_early
from aacf_tf.weights import load_stream_weights
from aacf_tf.weights.checkpoint_folder import newest
from tfrecords.utils.errors import UsageError

logger = logging.getLogger(__name__)


def begin_backbone(run: Run, source: keras.Model | None) -> keras.Model | None:
    """Returns the backbone of the first stage with the given or the recipe's weights; else None."""
    recipe = run.recipe
    if source is None and not recipe.weights:
        return None
    backbone = make_backbone(recipe)
    if source is not None:
        copy_weights(source, backbone)
    elif not newest(run.checkpoint_folder(recipe.stages[0])):
        # A resumed stage restores its own weights, so the file may be gone.
        logger.info(f"weights  {load_stream_weights(backbone, recipe.weights)}")
    return backbone


def build_frozen(run: Run) -> tuple[Stage, ActionModel]:
    """Returns the next stage with a frozen backbone, and its model as training begins it.

    If several stages freeze the backbone, uses the last one whose predecessors are trained, or
    else the first.

    Raises:
        UsageError: There is no such stage, its features are not to be cached, or the stage before
            it has not been trained.
    """
    recipe = run.recipe

    def is_trained(stage: Stage) -> bool:
        return newest(run.checkpoint_folder(stage)) is not None

    frozen = [index for index, stage in enumerate(recipe.stages) if stage.backbone_rate == 0]
    if not frozen or not recipe.data.views:
        raise UsageError(
            "--mode=features: expected a stage with a frozen backbone (backbone_rate 0) and "
            f"data.views of 1 or more, received data.views={recipe.data.views or 0} and "
            + ", ".join(f"{stage.name}: {stage.backbone_rate:g}" for stage in recipe.stages)
            + "."
        )
    strategy = make_strategy(recipe.strategy)
    ready = [index for index in frozen if all(map(is_trained, recipe.stages[:index]))]
    index = ready[-1] if ready else frozen[0]
    stage, before = recipe.stages[index], None
    # Training continues from the last checkpoint of a stage, not from its best.
    if is_trained(stage):
        before = restore(run, stage, best=False).backbone
    elif index:
        before = restore(run, recipe.stages[index - 1], best=False).backbone
    keras.utils.set_random_seed(recipe.seed)
    with keras_policy(resolve_precision(recipe.precision)), strategy.scope():
        return stage, run.build(stage, backbone=begin_backbone(run, before))


def restore(run: Run, stage: Stage, best: bool = True) -> ActionModel:
    """Restores the model of a stage in float32.

    Args:
        run: Run of the stage.
        stage: Stage to restore.
        best: Whether to use the best checkpoint, if there is one, instead of the last.

    Raises:
        UsageError: The stage has no checkpoint.
        UserError: The checkpoint or history.json is damaged.
    """
    folder = run.checkpoint_folder(stage)
    last = newest(folder)
    if last is None:
        raise UsageError(f"Expected a trained model in {folder}, received no checkpoint there.")
    done = epochs_in(last)
    history = read_history(run.log_folder(stage) / "history.json")
    if done < stage.epochs and not stops_early(run.plan(stage), history):
        logger.warning(
            f"Warning: stage {stage.name!r} has been trained for {done} of {stage.epochs} epochs."
        )
    with keras_policy("float32"):
        model = run.build(stage)
    path = (best and newest(folder / BEST)) or last
    read(tf.train.Checkpoint(**parts(model)), path)
    return model
