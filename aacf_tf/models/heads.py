"""Defines the heads, which turn a feature map into class scores and maps.

    aacf                two attention maps, two factors, a classifier on each
    average             global average pooling; no conjugates
    average_background  the same, with the conjugates as one more class: nothing happens
    average_uniform     the same, with the conjugates pushed to the uniform distribution
    attention           one softmax map over space and time; no conjugates
    nonlocal            a non-local block (self-attention), then average pooling; no conjugates
    linear_factors      two linear projections of the average with the pair losses, no attention

Outputs of a head, all float32: `combined_scores` `[B, K]` always; with factors `action_scores`,
`context_scores` `[B, K]` and `action` `[B, D]` (of M action maps `[B, M * D]`), `context` `[B, D]`,
and in the loss form `apart` `average_scores` `[B, K]`; with attention `action_attention` and
`action_logits` `[B, T, H, W]`, and for aacf `context_attention`; without attention
`class_activation` `[B, T, H, W]`: the evidence of each position for the predicted class. If the
data contain clips with no action, they form an extra last class, which is never predicted.

`terms` names the loss terms (`aacf_tf.models.losses`) that train a head, `scores` its scores,
`factors` says whether action and context are among them. `HEADS` has the class of each name.
"""

from __future__ import annotations

from typing import Any, Mapping

import tensorflow as tf
from tensorflow import keras

from aacf_tf.recipes.options import APART_TERMS, HEAD_TERMS, PAIR_TERMS
from keras_layers import (
    ActionContextFactorization,
    AttentionPooling,
    NonLocalBlock3D,
    StatelessDropout,
)


class _Head(keras.layers.Layer):
    """Base of the heads: float32, dropout before the classifiers.

    Args:
        classes: Number of classes, K.
        dropout: Dropout rate before the classifiers.
        seed: Seed of the dropout.
        actions: Number of real classes, which come first; None: all.
        standardized: Whether to standardize the channels by the weights `mean` and `deviation`,
            which `aacf_tf.training.preparation.standardization` sets.
        pooled_length: Length to which pooled features are scaled before the classifiers, which then
            learn alike from the mean of all positions and from the few that a map is on; 0: none.
    """

    terms: tuple[str, ...] = HEAD_TERMS["average"]
    scores: tuple[str, ...] = ("combined",)

    def __init__(
        self,
        classes: int,
        *,
        dropout: float = 0.0,
        seed: int = 0,
        actions: int | None = None,
        standardized: bool = False,
        pooled_length: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.classes, self.actions, self.standardized = classes, actions or classes, standardized
        self.pooled_length = pooled_length
        self.dropout = StatelessDropout(dropout, seed, dtype="float32")

    def build(self, input_shape: Any) -> None:
        if self.standardized:
            fixed: dict[str, Any] = {"shape": input_shape[-1:], "trainable": False}
            self.mean = self.add_weight(name="mean", initializer="zeros", **fixed)
            self.deviation = self.add_weight(name="deviation", initializer="ones", **fixed)
        super().build(input_shape)

    def standardize(self, features: tf.Tensor) -> tf.Tensor:
        """Returns the features, float32 if their channels are standardized."""
        if not self.standardized:
            return features
        return (tf.cast(features, tf.float32) - self.mean) / self.deviation

    def average(self, features: tf.Tensor) -> tf.Tensor:
        """Returns the mean of standardized features over all positions, float32 `[B, D]`."""
        # Standardized after the mean, which is the same and reads the map once.
        return self.standardize(_average(features))

    def classify(
        self, classifier: keras.layers.Dense, pooled: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """Returns a classifier's logits `[B, K]` of pooled features `[B, D]`."""
        if self.pooled_length:
            pooled = self.pooled_length * tf.math.l2_normalize(pooled, axis=-1)
        return classifier(self.dropout(pooled, training=training))

    @property
    def factors(self) -> bool:
        """Whether the head has action and context scores."""
        return "action" in self.scores

    @property
    def pairs(self) -> bool:
        """Whether a term needs the conjugates."""
        return bool(PAIR_TERMS & {*self.terms})

    def get_config(self) -> dict[str, Any]:
        config = {
            "classes": self.classes,
            "dropout": self.dropout.rate,
            "seed": self.dropout.seed,
            "actions": self.actions,
            "standardized": self.standardized,
            "pooled_length": self.pooled_length,
        }
        return {**super().get_config(), **config}

    def _class_activation(
        self, features: tf.Tensor, kernel: tf.Tensor, scores: tf.Tensor
    ) -> tf.Tensor:
        """Returns each position's share of the predicted real class's score; kernel (D, K)."""
        best = tf.argmax(scores[:, : self.actions], -1)
        weights = tf.gather(kernel, best, axis=1)  # (D, B)
        return tf.einsum("bthwd,db->bthw", tf.cast(features, tf.float32), weights)


@keras.utils.register_keras_serializable(package="aacf")
class FactorizationHead(_Head):
    """AACF: two factors, a linear classifier on each.

    Args:
        classes: Number of classes, K.
        hidden: Width of the attention's hidden layer.
        maps: Number of action maps, whose pooled features the action classifier sees side by side.
        context_learns: Whether the data contain pairs; otherwise the context classifier gets no
            gradient, and is left out of the combined scores.

    Call arguments:
        features: `[B, T, H, W, D]`.
    """

    terms = HEAD_TERMS["aacf"]
    scores = ("action", "context", "combined")

    def __init__(
        self,
        classes: int,
        *,
        hidden: int = 256,
        maps: int = 1,
        context_learns: bool = True,
        **kwargs: Any,
    ):
        super().__init__(classes, **kwargs)
        self.hidden, self.maps, self.context_learns = hidden, maps, context_learns
        self.factorization = ActionContextFactorization(hidden, maps, name="factorization")
        self.action_classifier = _classifier(classes, "action_classifier")
        self.context_classifier = _classifier(classes, "context_classifier")

    def call(self, features: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        outputs = self.factorization(self.standardize(features))
        return {**outputs, **_factor_scores(self, outputs, training)}

    def get_config(self) -> dict[str, Any]:
        names = ("hidden", "maps", "context_learns")
        config = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **config}


@keras.utils.register_keras_serializable(package="aacf")
class ApartHead(FactorizationHead):
    """AACF in the loss form `apart`: an average-pooled expert beside it, for pretrained backbones.

    Args:
        classes: Number of classes, K.
        branch_gradient: Share of its gradient that the factorization passes to the features; the
            average expert, which its full gradient would cost accuracy, passes all.
        context_weight: Weight w of the context in the combined score, za + v zg + w zc.
        average_weight: Weight v of the average expert there.

    The other arguments and those of the call are as for `FactorizationHead`.
    """

    terms = APART_TERMS
    scores = (*FactorizationHead.scores, "average")

    def __init__(
        self,
        classes: int,
        *,
        branch_gradient: float = 0.2,
        context_weight: float = 0.2,
        average_weight: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(classes, **kwargs)
        self.branch_gradient = branch_gradient
        self.context_weight, self.average_weight = context_weight, average_weight
        self.average_classifier = _classifier(classes, "average_classifier")

    def call(self, features: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        branch = _scale_gradient(self.standardize(features), self.branch_gradient)
        outputs = self.factorization(branch)
        scores = _factor_scores(self, outputs, training, self.context_weight)
        zg = self.classify(self.average_classifier, self.average(features), training)
        scores["combined_scores"] += self.average_weight * zg
        return {**outputs, **scores, "average_scores": zg}

    def get_config(self) -> dict[str, Any]:
        names = ("branch_gradient", "context_weight", "average_weight")
        config = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **config}


@keras.utils.register_keras_serializable(package="aacf")
class LinearFactorsHead(_Head):
    """Two linear projections of the average features, D -> D, with the pair losses: no attention.

    The predecessor of AACF as the paper's authors describe it (Wang and Hoai, CVPR 2018: action
    and context as linear projections of one descriptor); the losses are AACF's except those of
    maps. Arguments as for `FactorizationHead`; the class activation is that of the action.
    """

    terms = HEAD_TERMS["linear_factors"]
    scores = FactorizationHead.scores

    def __init__(self, classes: int, *, context_learns: bool = True, **kwargs: Any):
        super().__init__(classes, **kwargs)
        self.context_learns = context_learns
        self.action_classifier = _classifier(classes, "action_classifier")
        self.context_classifier = _classifier(classes, "context_classifier")

    def build(self, input_shape: Any) -> None:
        depth = input_shape[-1]
        self.action_projection, self.context_projection = (
            keras.layers.Dense(depth, use_bias=False, dtype="float32", name=f"{name}_projection")
            for name in ("action", "context")
        )
        super().build(input_shape)

    def call(self, features: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        pooled = self.average(features)
        factors = {
            "action": self.action_projection(pooled),
            "context": self.context_projection(pooled),
        }
        scores = _factor_scores(self, factors, training)
        kernel = tf.matmul(self.action_projection.kernel, self.action_classifier.kernel)
        activation = self._class_activation(
            self.standardize(features), kernel, scores["action_scores"]
        )
        return {**factors, **scores, "class_activation": activation}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "context_learns": self.context_learns}


@keras.utils.register_keras_serializable(package="aacf")
class AverageHead(_Head):
    """Global average pooling and a linear classifier: the baseline.

    Args:
        classes: Number of classes, K.

    Call arguments:
        features: `[B, T, H, W, D]`.
    """

    def __init__(self, classes: int, **kwargs: Any):
        super().__init__(classes, **kwargs)
        self.classifier = _classifier(classes, "classifier")

    def call(self, features: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        scores = self.classify(self.classifier, self.average(features), training)
        activation = self._class_activation(
            self.standardize(features), self.classifier.kernel, scores
        )
        return {"combined_scores": scores, "class_activation": activation}


@keras.utils.register_keras_serializable(package="aacf")
class AverageBackgroundHead(AverageHead):
    """The baseline with conjugates in the last class, which is no action's (multi-label: none)."""

    terms = HEAD_TERMS["average_background"]


@keras.utils.register_keras_serializable(package="aacf")
class AverageUniformHead(AverageHead):
    """The baseline whose target for conjugates is the uniform distribution."""

    terms = HEAD_TERMS["average_uniform"]


@keras.utils.register_keras_serializable(package="aacf")
class AttentionHead(_Head):
    """One attention map, of the same form as each of AACF's, and a linear classifier.

    Arguments as for `FactorizationHead`. Trained by the clips alone.
    """

    def __init__(self, classes: int, *, hidden: int = 256, **kwargs: Any):
        super().__init__(classes, **kwargs)
        self.hidden = hidden
        self.project = keras.layers.Dense(hidden, "relu", dtype="float32", name="project")
        small = keras.initializers.RandomNormal(stddev=0.01)
        self.score = keras.layers.Dense(1, kernel_initializer=small, dtype="float32", name="score")
        self.pooling = AttentionPooling(name="pooling")
        self.classifier = _classifier(classes, "classifier")

    def call(self, features: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        features = tf.cast(self.standardize(features), tf.float32)
        logits = self.score(self.project(features))  # (B, T, H, W, 1)
        pooled, weights = self.pooling((logits, features))
        return {
            "combined_scores": self.classify(self.classifier, pooled[:, 0], training),
            "action_attention": weights[..., 0],
            "action_logits": logits[..., 0],
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden}


@keras.utils.register_keras_serializable(package="aacf")
class NonLocalHead(_Head):
    """A non-local block over all positions, then average pooling and a linear classifier.

    Arguments as for `AverageHead`. Trained by the clips alone.
    """

    def __init__(self, classes: int, **kwargs: Any):
        super().__init__(classes, **kwargs)
        self.block = NonLocalBlock3D(dtype="float32", name="block")
        self.classifier = _classifier(classes, "classifier")

    def call(self, features: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        features = self.block(tf.cast(self.standardize(features), tf.float32))
        scores = self.classify(self.classifier, _average(features), training)
        activation = self._class_activation(features, self.classifier.kernel, scores)
        return {"combined_scores": scores, "class_activation": activation}


HEADS: dict[str, type[_Head]] = {
    "aacf": FactorizationHead,
    "average": AverageHead,
    "average_background": AverageBackgroundHead,
    "average_uniform": AverageUniformHead,
    "attention": AttentionHead,
    "nonlocal": NonLocalHead,
    "linear_factors": LinearFactorsHead,
}


def make_head(
    kind: str,
    classes: int,
    *,
    hidden: int = 256,
    maps: int = 1,
    dropout: float = 0.0,
    seed: int = 0,
    negatives: bool = False,
    multi_label: bool = False,
    context_learns: bool = True,
    pooled_length: float = 0.0,
    apart: Mapping[str, float] | None = None,
) -> keras.layers.Layer:
    """Builds a head.

    Args:
        kind: Name of the head, one of `HEADS`.
        classes: Number of real classes.
        hidden: Width of the attention's hidden layer, for heads that have one.
        maps: Number of action maps of `aacf`.
        dropout, seed, context_learns, pooled_length: See the heads.
        negatives: Whether the data contain clips with no action. Unless data are multi-label, they
            form one more class, and so do the conjugates of `average_background`.
        multi_label: Whether clips may have several labels.
        apart: Arguments of `ApartHead`, which takes the place of `aacf`; heads of any kind then
            standardize the channels. None: the loss form `scratch`.

    Raises:
        ValueError: The name is unknown.
    """
    if kind not in HEADS:
        raise ValueError(f"Expected a head of {', '.join(HEADS)}. Received {kind!r}.")
    head = ApartHead if kind == "aacf" and apart is not None else HEADS[kind]
    options: dict[str, Any] = {"dropout": dropout, "seed": seed, "actions": classes, "name": "head"}
    options["pooled_length"] = pooled_length
    if apart is not None:
        options.update(apart if head is ApartHead else {}, standardized=True)
    if "action" in head.scores:
        options["context_learns"] = context_learns
    if kind in ("aacf", "attention"):
        options["hidden"] = hidden
    if kind == "aacf":
        options["maps"] = maps
    if (negatives or "background" in head.terms) and not multi_label:
        classes += 1
    return head(classes, **options)


def _classifier(classes: int, name: str) -> keras.layers.Dense:
    return keras.layers.Dense(classes, dtype="float32", name=name)


@tf.custom_gradient
def _scale_gradient(values: tf.Tensor, share: float) -> tuple[tf.Tensor, Any]:
    """Returns the values; what flows back to them is multiplied by the share."""
    return tf.identity(values), lambda gradient: (share * gradient, None)


def _average(features: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(features, tf.float32), axis=[1, 2, 3])


def _factor_scores(
    head: FactorizationHead | LinearFactorsHead,
    factors: dict[str, tf.Tensor],
    training: bool,
    weight: float = 1.0,
) -> dict[str, tf.Tensor]:
    action = head.classify(head.action_classifier, factors["action"], training)
    context = head.classify(head.context_classifier, factors["context"], training)
    return {
        "action_scores": action,
        "context_scores": context,
        "combined_scores": action + weight * context if head.context_learns else action,
    }
