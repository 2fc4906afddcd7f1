"""The model that is trained: a backbone, a head and its loss."""

from __future__ import annotations

from typing import Any, Mapping

import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.two_stream import streams_of
from aacf_tf.models import losses


class ActionModel(keras.Model):
    """A backbone and a head that `fit` trains on clip/conjugate pairs.

    Call arguments:
        inputs: a dict with `clip` `[B, T, h, w, 3]` (0..255) and, for training, `conjugate` of the
            same shape and `has_conjugate` bool `[B]`, for swapped pairs `swapped` bool `[B]` and
            `context_target` as the targets; or the clips alone. For a frozen backbone `features`
            and `conjugate_features` `[B, t, h, w, D]`, its cached maps, in the clips' place.

    Returns:
        the head's outputs for the clips; for pairs also the conjugates' under `conjugate`.

    The loss is `sum_terms weight * sum_i w_i term_i / sum_i w_i`, the sums over the GLOBAL batch of
    all replicas, w the sample weights, plus the coupled weight decay
    `decay / 2 * |kernels|^2` (kernels only, no biases, no batch norm).

    Args:
        backbone: pixels to features.
        head: of `aacf_tf.models.heads`.
        loss_weights: name of a term -> weight, of those that act.
        pairs_first_steps: so many steps from the start of a stage, only `difference` and
            `presence` act. From scratch one phase does not start.
        weight_decay: coupled L2.
        multi_label, time_spread_floor, label_smoothing: see `losses`.

    Attributes:
        map_metrics: pairs of the name of a map that the head puts out and a metric of it, which
            inputs with `mask` and `has_mask` update; none unless they are set.
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
            names += ["action_accuracy"] if head.factors else []
            names += ["accuracy"]
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}
        self.map_metrics: list[tuple[str, keras.metrics.Metric]] = []

    @property
    def geometry(self) -> keras.Model:
        """The network whose cells the maps have: the backbone, or any of its streams."""
        return next(iter(streams_of(self.backbone).values()))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*self.trackers.values(), *(metric for _, metric in self.map_metrics)]

    def call(self, inputs: Any, training: bool = False) -> dict[str, Any]:
        others = {"conjugate", "conjugate_features"}
        pairs = isinstance(inputs, Mapping) and bool(others & {*inputs}) and self.head.pairs
        outputs = self.head(self.features(inputs, pairs, training), training=training)
        if not pairs:
            return outputs
        halves = {name: tf.split(value, 2, axis=0) for name, value in outputs.items()}
        clip = {name: half[0] for name, half in halves.items()}
        return {**clip, "conjugate": {name: half[1] for name, half in halves.items()}}

    def features(self, inputs: Any, pairs: bool, training: bool = False) -> tf.Tensor:
        """The maps `[B, t, h, w, D]` of the clips; for pairs, those of the conjugates behind them.

        Cached ones (`features`, `conjugate_features`) are taken as they are.
        """
        if not isinstance(inputs, Mapping):
            return self.backbone(inputs, training=training)

        def join(clip: str, conjugate: str) -> tf.Tensor:
            # ONE batch, so that batch norm sees clips and conjugates together.
            return tf.concat([inputs[clip], inputs[conjugate]], axis=0) if pairs else inputs[clip]

        if "features" in inputs:
            features = join("features", "conjugate_features")
            return tf.cast(features, self.backbone.output.dtype)
        pixels = join("clip", "conjugate")
        if self.two_streams:
            pixels = {"rgb": pixels, "flow": join("flow", "conjugate_flow")}
        return self.backbone(pixels, training=training)

    def strides(self) -> tuple[int, int, int]:
        """Pixels and frames from one cell of the feature map to the next: time, height, width."""
        # Divisible by the strides of every backbone, and shapes cost nothing.
        stream = self.geometry
        *sides, channels = stream.input_shape[1:]
        size = [side or free for side, free in zip(sides, (64, 960, 960))]
        grid = stream.compute_output_shape((1, *size, channels))[1:4]
        return tuple(side // cells for side, cells in zip(size, grid))

    def loss_terms(self, x: Any, y: tf.Tensor, outputs: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Name -> float32 `[B]`: the unweighted terms of the head's loss."""
        if self.multi_label:
            has_action = tf.reduce_any(y > 0, axis=-1)
        else:
            has_action = y < self.head.actions
        common = {
            "has_conjugate": x.get("has_conjugate"),
            "has_action": has_action,
            "multi_label": self.multi_label,
            "label_smoothing": self.label_smoothing,
        }
        conjugate = outputs.get("conjugate")
        if not self.head.factors:
            return losses.baseline_terms(outputs, conjugate, y, **common)
        return losses.factorization_terms(
            outputs,
            conjugate,
            y,
            swapped=x.get("swapped"),
            context_targets=x.get("context_target"),
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
        # Keras sums the replicas' gradients, so each divides by the weight of the global batch.
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(weights))
        replicas = tf.cast(context.num_replicas_in_sync, tf.float32)
        loss = tf.zeros([])
        for name, weight in self._current_weights().items():
            # Weights may all be 0: a batch of clips with no action whose weight is 0.
            value = tf.math.divide_no_nan(tf.reduce_sum(weights * terms[name]), total)
            loss += weight * value
            self.trackers[name].update_state(value * replicas)
        self.trackers["loss"].update_state(loss * replicas)
        return loss + self._decay() / replicas

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, Any]:
        x = x if isinstance(x, Mapping) else {}
        scores = {"accuracy": y_pred["combined_scores"]}
        if self.head.factors:
            scores["action_accuracy"] = y_pred["action_scores"]
        for name, values in scores.items():
            if name in self.trackers:
                # As the evaluation: which real class, of the clips that have one.
                best = tf.argmax(values[:, : self.head.actions], -1, output_type=y.dtype)
                right = tf.cast(best == y, tf.float32)
                self.trackers[name].update_state(right, y < self.head.actions)
        updated = [*self.trackers.values()]
        for name, metric in self.map_metrics:
            if "mask" in x and name in y_pred:
                metric.update_state(x["mask"], y_pred[name], x["has_mask"])
                updated.append(metric)
        return {metric.name: metric.result() for metric in updated}

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
    """Whether weight decay applies: not to biases, not to batch norm."""
    return "kernel" in variable.name
