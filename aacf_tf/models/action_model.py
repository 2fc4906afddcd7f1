"""Defines the model that is trained: a backbone, a head and its loss."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.receptive_field import receptive_field
from aacf_tf.backbones.two_stream import streams_of
from aacf_tf.models import losses
from tfrecords.reading.remedies.batch import ERASED, MASKED

VIEWS = (ERASED, MASKED)


class ActionModel(keras.Model):
    """A backbone and a head, trained by `fit` on clip/conjugate pairs.

    The loss is `sum_terms weight * sum_i w_i term_i / sum_i w_i`, where the sums are over the
    GLOBAL batch of all replicas and w are the sample weights, plus the coupled weight decay
    `decay / 2 * |kernels|^2` (kernels only, no biases, no batch norm).

    Args:
        backbone: Model from pixels to features.
        head: Head, one of `aacf_tf.models.heads`.
        loss_weights: Weight of each loss term that acts.
        pairs_first_steps: Steps from the start of a stage in which only `difference` and `presence`
            act; training from scratch in one phase does not start.
        weight_decay: Coupled L2.
        multi_label, time_spread_floor, label_smoothing: See `losses`.

    Call arguments:
        inputs: A dict with `clip` `[B, T, h, w, 3]` (0..255) and, for training, `conjugate` of the
            same shape and `has_conjugate` bool `[B]`, for swapped pairs `swapped` bool `[B]` and
            `context_target` like the targets; for remedies the views `erased` and `masked` of the
            shape of `clip`, and `person` bool `[B]`; or the clips alone. For a frozen backbone its
            cached maps `features` and `conjugate_features` `[B, t, h, w, D]` replace the clips.

    Returns:
        The head's outputs for the clips; also those for the conjugates of pairs and for views,
        under `conjugate` and the view's name. With views all have the average features `pooled`.
    """

    def __init__(
        self,
        backbone: keras.Model,
        head: keras.layers.Layer,
        *,
        loss_weights: Mapping[str, float],
        pairs_first_steps: int = 0,
        weight_decay: float = 0.0,
        multi_label: bool = False,
        time_spread_floor: float = 0.8,
        label_smoothing: float = 0.0,
    ):
        super().__init__(name="action_model")
        self.backbone, self.head = backbone, head
        self.two_streams = len(streams_of(backbone)) > 1
        self.loss_weights = loss_weights
        self.pairs_first_steps = pairs_first_steps
        self.weight_decay = weight_decay
        self.multi_label = multi_label
        self.time_spread_floor = time_spread_floor
        self.label_smoothing = label_smoothing
        names = ["loss", *loss_weights]
        if not multi_label:
            names += [
                f"{score}_accuracy" for score in ("action", "average") if score in head.scores
            ]
            names += ["accuracy"]
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def geometry(self) -> keras.Model:
        """The network that defines the cells of the maps: the backbone, or any of its streams."""
        return next(iter(streams_of(self.backbone).values()))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*self.trackers.values()]

    def call(self, inputs: Any, training: bool = False) -> dict[str, Any]:
        conjugates = {"conjugate", "conjugate_features"}
        pairs = isinstance(inputs, Mapping) and bool(conjugates & {*inputs}) and self.head.pairs
        views = [name for name in VIEWS if isinstance(inputs, Mapping) and name in inputs]
        features = self.features(inputs, pairs, training, views)
        outputs = self.head(features, training=training)
        others = ["conjugate"] * pairs + views
        if views:
            outputs["pooled"] = tf.reduce_mean(tf.cast(features, tf.float32), axis=[1, 2, 3])
        if not others:
            return outputs
        parts = {name: tf.split(value, 1 + len(others)) for name, value in outputs.items()}
        clip, *rest = (
            {name: part[index] for name, part in parts.items()} for index in range(1 + len(others))
        )
        return {**clip, **dict(zip(others, rest))}

    def features(
        self, inputs: Any, pairs: bool, training: bool = False, views: Sequence[str] = ()
    ) -> tf.Tensor:
        """Returns the maps `[B, t, h, w, D]` of the clips, then for pairs the conjugates', views'.

        Cached maps (`features`, `conjugate_features`) are returned unchanged.
        """
        if not isinstance(inputs, Mapping):
            return self.backbone(inputs, training=training)

        def join(clip: str, conjugate: str) -> tf.Tensor:
            # ONE batch, so that batch norm sees clips and conjugates together.
            stacks = [inputs[name] for name in (clip, *[conjugate] * pairs, *views)]
            return tf.concat(stacks, axis=0) if stacks[1:] else stacks[0]

        if "features" in inputs:
            features = join("features", "conjugate_features")
            return tf.cast(features, self.backbone.output.dtype)
        pixels = join("clip", "conjugate")
        if self.two_streams:
            pixels = {"rgb": pixels, "flow": join("flow", "conjugate_flow")}
        return self.backbone(pixels, training=training)

    def strides(self) -> tuple[int, int, int]:
        """Returns the strides of the feature map (time, height, width) in frames and pixels."""
        sides = self.geometry.input_shape[1:4]
        size = [side or free for side, free in zip(sides, (64, 960, 960))]
        time, height, width = receptive_field(self.geometry, size)
        return time.stride, height.stride, width.stride

    def loss_terms(self, x: Any, y: tf.Tensor, outputs: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Returns the unweighted terms of the head's loss, float32 `[B]` by name."""
        if self.multi_label:
            has_action = tf.reduce_any(y > 0, axis=-1)
        else:
            has_action = y < self.head.actions
        common = {
            "has_conjugate": x.get("has_conjugate"),
            "has_action": has_action,
            "label_smoothing": self.label_smoothing,
        }
        terms = self._head_terms(x, y, outputs, common)
        if {*losses.REMEDY_TERMS} & {*self.loss_weights}:
            remedies = losses.remedy_terms(
                outputs, y, has_action, x.get("person"), self.label_smoothing
            )
            terms = {**terms, **remedies}
        return terms

    def _head_terms(
        self, x: Any, y: tf.Tensor, outputs: Mapping[str, Any], common: dict[str, Any]
    ) -> dict[str, tf.Tensor]:
        conjugate = outputs.get("conjugate")
        if not self.head.factors:
            return losses.baseline_terms(outputs, conjugate, y, **common)
        common.update(swapped=x.get("swapped"), context_targets=x.get("context_target"))
        if "average" in self.head.scores:
            return losses.apart_terms(outputs, conjugate, y, **common)
        return losses.factorization_terms(
            outputs,
            conjugate,
            y,
            context_learns=self.head.context_learns,
            time_spread_floor=self.time_spread_floor,
            **common,
        )

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> tf.Tensor:
        terms = self.loss_terms(x if isinstance(x, Mapping) else {}, y, y_pred)
        clips = tf.shape(y)[0]
        weights = tf.ones([clips]) if sample_weight is None else tf.cast(sample_weight, tf.float32)
        context = tf.distribute.get_replica_context()
        # Keras sums the replicas' gradients, so each is divided by the weight of the global batch.
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(weights))
        replicas = tf.cast(context.num_replicas_in_sync, tf.float32)
        loss = tf.zeros([])
        for name, weight in self._current_weights().items():
            # All weights may be 0, in a batch of clips with no action.
            value = tf.math.divide_no_nan(tf.reduce_sum(weights * terms[name]), total)
            loss += weight * value
            self.trackers[name].update_state(value * replicas)
        self.trackers["loss"].update_state(loss * replicas)
        return loss + self._decay() / replicas

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, Any]:
        scores = {"accuracy": y_pred["combined_scores"]}
        for score in ("action", "average"):
            if score in self.head.scores:
                scores[f"{score}_accuracy"] = y_pred[f"{score}_scores"]
        for name, values in scores.items():
            if name in self.trackers:
                # As in the evaluation: the best real class, of clips that have one.
                best = tf.argmax(values[:, : self.head.actions], -1, output_type=y.dtype)
                right = tf.cast(best == y, tf.float32)
                self.trackers[name].update_state(right, y < self.head.actions)
        return {name: metric.result() for name, metric in self.trackers.items()}

    def _current_weights(self) -> Mapping[str, Any]:
        if not self.pairs_first_steps:
            return self.loss_weights
        late = tf.cast(self.optimizer.iterations >= self.pairs_first_steps, tf.float32)
        first = ("difference", "presence")
        return {
            name: weight if name in first else weight * late
            for name, weight in self.loss_weights.items()
        }

    def _decay(self) -> tf.Tensor:
        kernels = [v for v in self.trainable_variables if is_kernel(v)]
        if not self.weight_decay or not kernels:
            return tf.zeros([])
        squares = tf.add_n([tf.nn.l2_loss(tf.cast(kernel, tf.float32)) for kernel in kernels])
        return self.weight_decay * squares


def is_kernel(variable: tf.Variable) -> bool:
    """Returns whether weight decay applies to a variable: not to biases, not to batch norm."""
    return "kernel" in variable.name
