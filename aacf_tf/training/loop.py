"""Trains the stages of a recipe with `model.fit`; a stopped run resumes where it stopped.

See `checkpoints` for what is saved and `monitoring` for what is logged.
"""

from __future__ import annotations

import logging
from typing import Any, Callable

import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.batch_norm import synchronize_batch_norm
from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import PAIR_HEADS, Stage
from aacf_tf.runs.devices import keras_policy, make_strategy, resolve_precision, worker_of
from aacf_tf.runs.run import Run
from aacf_tf.runs.termination import Stopped, Termination
from aacf_tf.training.checkpoints import StageCheckpoint
from aacf_tf.training.finite import FiniteCheck
from aacf_tf.training.monitoring import Board, ProgressLine, board_folder
from aacf_tf.training.optimizers import make_optimizer
from aacf_tf.training.preparation import feature_cache
from aacf_tf.training.preparation.standardization import fit_standardization
from aacf_tf.training.preparation.still_frames import find_stills
from aacf_tf.training.restoring import begin_backbone
from aacf_tf.training.validation import Validation
from aacf_tf.weights.checkpoint_folder import newest
from aacf_tf.weights.own_runs import load_attention
from tfrecords.reading.corruption import translate_errors
from tfrecords.utils.errors import UsageError

logger = logging.getLogger(__name__)


def train(run: Run, backbone: keras.Model | None = None) -> None:
    """Trains all stages of the run's recipe, or resumes them.

    Args:
        run: Run to train.
        backbone: Backbone of the recipe's kind to copy the initial weights from; None: the recipe's
            `weights`, or random ones.

    Raises:
        UsageError: The data or the recipe's `weights` do not fit the recipe.
        UserError: A record is corrupt, or a loss is not finite.
        Stopped: SIGTERM came; the training so far is saved.
    """
    recipe = run.recipe
    strategy = make_strategy(recipe.strategy)  # first: nothing may have been computed
    run.check_data()
    if run.stills is None and any(run.plan(stage).stillmix for stage in recipe.stages):
        run.stills = find_stills(run, train)
    for warning in run.info.warnings:
        logger.warning(warning)
    if recipe.head in PAIR_HEADS and not run.context_learns:
        logger.warning(
            "Warning: no clip of 'train' has a conjugate: the context cannot be learned, and "
            f"{recipe.head} is trained on the clips alone."
        )
    keras.utils.set_random_seed(recipe.seed)
    policy = keras_policy(resolve_precision(recipe.precision))
    with policy, Termination().active() as termination, strategy.scope():
        # Variables made outside of the scope cannot be trained in it.
        backbone, head = begin_backbone(run, backbone), None
        for number, stage in enumerate(recipe.stages, start=1):
            head_kind = run.plan(stage).head
            title = f"{recipe.name}/{head_kind}: stage {number} of {len(recipe.stages)}"
            model = _train_stage(run, stage, backbone, head, termination, f"{title} ({stage.name})")
            backbone, head = model.backbone, model.head
    if termination.received:
        raise Stopped("SIGTERM: all is trained and saved; the same command does what is left.")


def _train_stage(
    run: Run,
    stage: Stage,
    backbone: keras.Model | None,
    head: keras.layers.Layer | None,
    termination: Termination,
    title: str,
) -> ActionModel:
    """Trains a stage on the backbone and, with `keep_head`, the head of the previous stage."""
    plan = run.plan(stage)
    steps = plan.steps_per_epoch
    _check_share(run, stage)
    model = run.build(stage, backbone=backbone)
    if stage.keep_head and head is not None:
        model.head.set_weights(head.get_weights())
    elif not newest(run.checkpoint_folder(stage)):
        summary = load_attention(model.head, run.recipe.weights)
        if summary:
            logger.info(summary)
    if run.recipe.synchronized_batch_norm:
        synchronize_batch_norm(model.backbone)
    optimizer = make_optimizer(plan, model)
    # The model weighs its own loss; an empty list tells Keras that nothing else is weighted.
    model.compile(optimizer=optimizer, weighted_metrics=[])
    # Metrics are summed over the workers already.
    model.distribute_reduction_method = "first"
    checkpoint = StageCheckpoint(run, plan, model, termination)
    if checkpoint.finished:
        logger.info(f"{title}: finished already")
        return model
    if plan.cached_views:
        with termination.at_once():  # can take hours; finished shards survive an interruption
            run.caches[stage.name] = feature_cache.cache(run, stage, model, ["train", "validation"])
    begins = not (stage.keep_head or checkpoint.epochs_done or checkpoint.steps_done)
    if model.head.standardized and begins:
        with termination.at_once():
            fit_standardization(run, stage, model)
    strategy = tf.distribute.get_strategy()
    chief = worker_of(strategy)[0] == 0
    steps_done = checkpoint.epochs_done * steps + checkpoint.steps_done
    clips = min(stage.batch_size, run.info.splits["train"]["clips"])  # a step
    progress_line = ProgressLine(title, clips, plan.steps, steps_done, shown=chief)
    if strategy.num_replicas_in_sync == 1:
        progress_line.measure(model)
    validation = _make_validation(run, stage, model)
    callbacks = [*([validation] if validation else []), progress_line]
    if chief:
        board = Board(board_folder(run, stage), steps, progress_line, validation)
        callbacks.append(board)
    callbacks += [FiniteCheck(run, plan, checkpoint), checkpoint]

    def fit(first_step: int, epochs: int) -> None:
        def read_own(worker: tuple[int, int]) -> tf.data.Dataset:
            batches = run.stage_batches(
                "train",
                stage,
                training=True,
                first_epoch=checkpoint.epochs_done,
                first_step=first_step,
                epochs=epochs,
                worker=worker,
            )
            return batches.map(_without_id)

        model.fit(
            _spread(strategy, read_own),
            steps_per_epoch=steps - first_step,
            initial_epoch=checkpoint.epochs_done,
            epochs=checkpoint.epochs_done + epochs,
            callbacks=callbacks,
            verbose=0,
        )

    try:
        with translate_errors(run.caches.get(stage.name, run.data)):
            if checkpoint.steps_done:  # the rest of an interrupted epoch
                fit(checkpoint.steps_done, 1)
            if not checkpoint.finished:
                fit(0, stage.epochs - checkpoint.epochs_done)
    finally:
        progress_line.close()
        if chief:
            board.close()
    if chief and checkpoint.epochs_done < stage.epochs:
        logger.info(
            f"{title}: ended after {checkpoint.epochs_done} of {stage.epochs} epochs, "
            f"{stage.patience} without a better validation"
        )
    return model


def _check_share(run: Run, stage: Stage) -> None:
    """Raises UsageError if a device would get no clip of a batch, or workers unequal numbers."""
    strategy = tf.distribute.get_strategy()
    devices = strategy.num_replicas_in_sync
    clips = min(stage.batch_size, run.info.splits["train"]["clips"])
    uneven = worker_of(strategy)[1] > 1 and clips % devices
    if uneven or -(-clips // devices) * (devices - 1) >= clips:
        raise UsageError(
            f"batch_size of stage {stage.name!r}: expected a multiple of the {devices} devices, "
            f"received {clips} clips."
        )


def _make_validation(run: Run, stage: Stage, model: ActionModel) -> Validation | None:
    """Returns the callback for the split `validation`; None without one."""
    if not run.info.splits.get("validation", {}).get("clips"):
        return None
    batches = run.stage_batches("validation", stage, training=False, masks=True)
    strategy = tf.distribute.get_strategy()
    if worker_of(strategy)[1] > 1:
        # Every worker evaluates all of it.
        spread = strategy.distribute_datasets_from_function(lambda _: batches.map(_without_id))
    else:
        spread = strategy.experimental_distribute_dataset(batches.map(_without_id))
    return Validation(run, stage, model, spread)


def _spread(
    strategy: tf.distribute.Strategy, read_own: Callable[[tuple[int, int]], tf.data.Dataset]
) -> Any:
    """Returns training batches for the devices of a strategy.

    Within one process `fit` splits the global batches itself. Each of several workers reads its
    own part, by `read_own((number, count))`.
    """
    count = worker_of(strategy)[1]
    if count == 1:
        return read_own((0, 1))
    replicas = strategy.num_replicas_in_sync // count  # of a worker

    def for_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        batches = read_own((context.input_pipeline_id, count))
        if replicas == 1:
            return batches
        # A step takes one element per replica.
        return batches.map(
            lambda *batch: tf.nest.map_structure(
                lambda value: tf.stack(tf.split(value, replicas)), batch
            )
        ).unbatch()

    return strategy.distribute_datasets_from_function(for_worker)


def _without_id(inputs: dict[str, tf.Tensor], *rest: tf.Tensor) -> tuple[Any, ...]:
    """Returns a batch without the ids: strings cannot be copied to a GPU."""
    return {name: value for name, value in inputs.items() if name != "id"}, *rest
