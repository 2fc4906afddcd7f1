"""Optimizers of a stage: schedules, a separate rate for the backbone, weight decay."""

# The mix-ins use attributes of the Keras classes that they are combined with.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import functools
import math
import re
from typing import Any, Mapping, Sequence

import tensorflow as tf
from tensorflow import keras

from aacf_tf.models.action_model import is_kernel
from aacf_tf.recipes import StagePlan


@keras.utils.register_keras_serializable(package="aacf")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0 to `peak` in `warmup` steps, then a cosine to 0 at `steps`."""

    def __init__(self, peak: float, steps: int, warmup: int):
        self.peak, self.steps, self.warmup = peak, steps, warmup

    def __call__(self, step: Any) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        rising = step / max(1, self.warmup)
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        falling = 0.5 * (1 + tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0)))
        return self.peak * tf.where(step < self.warmup, rising, falling)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup}


@keras.utils.register_keras_serializable(package="aacf")
class WarmupMilestones(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0 to `peak` in `warmup` steps; from step s on `peak` times a factor.

    Args:
        peak: Peak rate.
        milestones: Pairs of (step, factor), ascending.
        warmup: Warm-up steps.
    """

    def __init__(self, peak: float, milestones: Sequence[tuple[int, float]], warmup: int):
        self.peak, self.milestones, self.warmup = peak, list(milestones), warmup

    def __call__(self, step: Any) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        factor = tf.where(step < self.warmup, step / max(1, self.warmup), 1.0)
        for start, value in self.milestones:
            factor = tf.where(step >= start, value, factor)
        return self.peak * factor

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "milestones": self.milestones, "warmup": self.warmup}


class _GroupRates:
    """Mix-in that scales the updates of some variables, which scales their learning rate.

    It scales the update, since Adam is invariant to the scale of the gradient. Unlike tfa's
    MultiOptimizer, it uses public interfaces only, has its slots in checkpoints and works under
    every strategy.

    Attributes:
        gradient_norm: Norm of the last step's gradient over all replicas, float32 scalar.
    """

    rates: Mapping[str, float] = {}
    start = 0  # first step that trains the variables with a separate rate

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # Every replica has the same value, so none needs to synchronize it.
        self.gradient_norm = tf.Variable(
            0.0,
            trainable=False,
            name="gradient_norm",
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def aggregate_gradients(self, grads_and_vars: Any) -> Any:
        pairs = list(super().aggregate_gradients(grads_and_vars))
        gradients = [tf.cast(value, tf.float32) for value, _ in pairs if value is not None]
        self.gradient_norm.assign(tf.linalg.global_norm(gradients))
        return pairs

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, *args: Any) -> None:
        factor = self._rate_of(variable)
        if factor is None:
            super().update_step(gradient, variable, *args)
            return
        before = tf.identity(variable)
        super().update_step(gradient, variable, *args)
        variable.assign(before + factor * (variable - before))

    def _rate_of(self, variable: tf.Variable) -> Any:
        """Returns the factor of a variable's learning rate, or None if it has none."""
        factor = self.rates.get(_name_of(variable))
        if factor is not None and self.start:
            factor *= tf.cast(self.iterations >= self.start, variable.dtype)
        return factor


# Parts whose weights once shared names in their layer; where there are such, each update stays that
# of Keras, since the single operation differs from it in the last digit.
_ONCE_SHARED = re.compile(r"(?<=/head/)(\w+)/(attention/project|attention/score|embed|project)/")


class _OneUpdate(_GroupRates):
    """Mix-in for the Adam family: one operation per variable and update instead of ten."""

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        super().build(var_list)
        # Keras appends the two moments of each variable in turn.
        moments = iter(self.variables[-2 * len(var_list) :])
        pairs = dict(zip((variable.name for variable in var_list), zip(moments, moments)))
        names = {_ONCE_SHARED.sub(r"\1/", name) for name in pairs}
        # A function, since a dict would be saved in checkpoints. Duplicate names have no moments.
        self._moments_of = pairs.get if len(names) == len(var_list) else lambda name: None

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, *args: Any) -> None:
        moments = self._moments_of(_name_of(variable))
        if moments is None or isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, *args)
            return
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, dtype), tf.cast(self.beta_2, dtype)
        rate, factor = tf.cast(self.learning_rate, dtype), self._rate_of(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=moments[0].handle,
            v=moments[1].handle,
            beta1_power=beta_1**step,
            beta2_power=beta_2**step,
            lr=rate if factor is None else rate * factor,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, dtype),
            grad=gradient,
        )


class Adam(_OneUpdate, keras.optimizers.Adam):
    """keras.optimizers.Adam with `rates`."""


class AdamW(_OneUpdate, keras.optimizers.AdamW):
    """keras.optimizers.AdamW with `rates`; its decay is decoupled and follows the schedule."""


class SGD(_GroupRates, keras.optimizers.SGD):
    """keras.optimizers.SGD with `rates`; a `weight_decay` is decoupled and follows the schedule."""


def _name_of(variable: tf.Variable) -> str:
    """Returns a variable's name without the suffix of a replica's copy of it."""
    return re.sub(r"/replica_\d+", "", variable.name)


def make_schedule(plan: StagePlan) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the learning rate of a stage's head as a function of the step."""
    peak = plan.stage.learning_rate
    if plan.milestones:
        return WarmupMilestones(peak, plan.milestones, plan.warmup_steps)
    return WarmupCosine(peak, plan.steps, plan.warmup_steps)


def make_optimizer(plan: StagePlan, model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a stage, built so that a checkpoint can be restored into it.

    Args:
        plan: Plan of the stage.
        model: `ActionModel` of the stage, built.
    """
    stage, decay = plan.stage, plan.decoupled_decay
    sgd = functools.partial(SGD, momentum=0.9, weight_decay=decay)
    adamw = functools.partial(AdamW, weight_decay=decay)
    makers = {"adam": Adam, "adamw": adamw, "sgd": sgd, "sgdw": sgd}
    optimizer = makers[stage.optimizer](make_schedule(plan))
    if decay is not None:
        spared = [v for v in model.trainable_variables if not is_kernel(v)]
        optimizer.exclude_from_weight_decay(var_list=spared)
    if stage.backbone_rate != 1.0 or stage.backbone_start:
        names = [variable.name for variable in model.backbone.trainable_variables]
        optimizer.rates = dict.fromkeys(names, stage.backbone_rate)
        optimizer.start = plan.backbone_start_step
    optimizer.build(model.trainable_variables)
    return optimizer


def learning_rates(optimizer: keras.optimizers.Optimizer) -> dict[str, float]:
    """Returns the rates of the last step: `head`, and `backbone` if it has a separate one."""
    rate = float(optimizer.learning_rate.numpy())
    rates = {"head": rate}
    if optimizer.rates:
        moves = optimizer.iterations.numpy() > optimizer.start
        rates["backbone"] = rate * next(iter(optimizer.rates.values())) * moves
    return rates


def gradient_norm(model: keras.Model) -> float:
    """Returns the global gradient norm of the last training step."""
    # Under mixed_float16 Keras wraps the optimizer in one that scales the loss.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return float(optimizer.gradient_norm.numpy())
