"""Localization metrics of maps against the actor's masks or boxes, also for `model.fit`.

    model.compile(loss=..., weighted_metrics={"action_attention": [Pointing(), Mass()]})
    model.fit(clips, {"scores": ids, "action_attention": masks}, sample_weight=...)

A map is `[B, t, h, w]` on the grid of the features, a mask `[B, T, H, W]` on that of the frames.
They are compared on the grid of the features, where a cell is the actor's or not. A measure returns
one value for each clip.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable, Sequence, Union

import numpy as np
import tensorflow as tf
from tensorflow import keras

Triple = Sequence[int]  # time, height, width
TensorLike = Union[tf.Tensor, np.ndarray]


def masks_from_boxes(boxes: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """Computes the share of each pixel that boxes cover.

    Args:
        boxes: Boxes `[B, n, 4]` of still images or `[B, T, n, 4]` of videos: ymin, xmin, ymax, xmax
            as shares of height and width, 0..1; a row of zeros is no box.
        size: Size (H, W) of the masks in pixels.

    Returns:
        Shares, float32 `[B, T, H, W]`, with T = 1 for still images. Borders are rounded to 1/1024
        pixel; if several boxes touch a pixel, the one that covers most of it counts.
    """
    boxes = tf.cast(boxes, tf.float32)
    if boxes.shape.rank == 3:
        boxes = boxes[:, None]

    def overlap(low: tf.Tensor, high: tf.Tensor, length: int) -> tf.Tensor:
        # Rounded, since a border that is meant to lie between two pixels would touch both.
        low, high = (tf.round(edge[..., None] * length * 1024) / 1024 for edge in (low, high))
        start = tf.range(length, dtype=tf.float32)
        return tf.nn.relu(tf.minimum(high, start + 1) - tf.maximum(low, start))

    ymin, xmin, ymax, xmax = tf.unstack(boxes, num=4, axis=-1)
    rows, columns = overlap(ymin, ymax, size[0]), overlap(xmin, xmax, size[1])
    covered = rows[..., :, None] * columns[..., None, :]  # (B, T, n, H, W)
    return tf.nn.relu(tf.reduce_max(covered, axis=2))  # the maximum over no box is -inf


def cell_coverage(masks: tf.Tensor, grid: Triple, strides: Triple | None = None) -> tf.Tensor:
    """Computes the share of each cell's stride box that the mask covers.

    Args:
        masks: Masks `[B, T, H, W]`, 0..1, of any type.
        grid: Size (t, h, w) of the feature map.
        strides: Strides of the backbone in (time, height, width): cell i of an axis is the box from
            i * stride to (i + 1) * stride, the last one cut where the input ends. None: size / grid
            rounded up, which is right if the strides divide the size.

    Returns:
        Shares, float32 `[B, t, h, w]`, 0..1; 0 for a box beyond the input.
    """
    covered, volume = tf.cast(masks, tf.float32), tf.ones([])
    lengths = tf.unstack(tf.shape(covered))[1:]
    for axis, length in enumerate(lengths):
        stride = strides[axis] if strides else -(-length // grid[axis])
        inside = tf.one_hot(tf.range(length) // stride, grid[axis])  # (length, cells)
        # The first axis moves to the end, so after three turns the order is as before.
        covered = tf.tensordot(covered, inside, [[1], [0]])
        volume = volume[..., None] * tf.reduce_sum(inside, axis=0)
    # Divided last: sums of 0 and 1 stay exact, even if a GPU rounds products to TF32.
    return tf.math.divide_no_nan(covered, volume)


def actor_cells(coverage: TensorLike, threshold: float) -> tf.Tensor:
    """Returns the actor's cells, bool `[B, t, h, w]`: those covered by more than `threshold`.

    If a clip has no such cell, its most covered one is the actor's.
    """
    amounts = _flat(coverage)
    cells = amounts > threshold
    fullest = tf.one_hot(tf.argmax(amounts, -1), tf.shape(amounts)[-1], True, False)
    covered = tf.reduce_any(cells, axis=-1, keepdims=True)
    return tf.reshape(tf.where(covered, cells, fullest), tf.shape(coverage))


def normalize_map(values: TensorLike) -> tf.Tensor:
    """Turns evidence `[B, t, h, w]` into weights: its positive part, summing to 1 a clip, float32.

    The weights are uniform if nothing is positive.
    """
    positive = tf.nn.relu(tf.cast(values, tf.float32))
    total = tf.reduce_sum(positive, axis=[1, 2, 3], keepdims=True)
    uniform = tf.ones_like(positive) / tf.cast(tf.reduce_prod(tf.shape(values)[1:]), tf.float32)
    return tf.where(total > 0, tf.math.divide_no_nan(positive, total), uniform)


def pointing(weights: tf.Tensor, cells: tf.Tensor) -> tf.Tensor:
    """Measures whether the map's peak is on the actor, 0 or 1 `[B]`.

    Args:
        weights: Map `[B, t, h, w]`, each clip's summing to 1, as for all measures.
        cells: The actor's cells, bool `[B, t, h, w]`, as for all measures.
    """
    weights = _flat(weights)
    return tf.gather(_flat(tf.cast(cells, tf.float32)), tf.argmax(weights, -1), batch_dims=1)


def mass(weights: tf.Tensor, cells: tf.Tensor) -> tf.Tensor:
    """Measures the share of the weight on the actor, 0..1 `[B]`; a uniform map has its area."""
    return tf.reduce_sum(weights * tf.cast(cells, weights.dtype), axis=[1, 2, 3])


def auc(weights: tf.Tensor, cells: tf.Tensor) -> tf.Tensor:
    """Measures the area under the ROC curve of the weight as a score of the cells, 0..1 `[B]`.

    NaN if all cells are the actor's, or none. Computed from ranks, averaged over ties
    (Mann-Whitney), as scikit-learn's `roc_auc_score`.
    """
    scores, truth = _flat(weights), _flat(tf.cast(cells, tf.float32))
    ordered = tf.sort(scores, axis=-1)
    below = tf.searchsorted(ordered, scores, side="left")
    up_to = tf.searchsorted(ordered, scores, side="right")
    ranks = tf.cast(below + up_to + 1, tf.float32) / 2
    on, off = tf.reduce_sum(truth, axis=-1), tf.reduce_sum(1 - truth, axis=-1)
    wins = tf.reduce_sum(ranks * truth, axis=-1) - on * (on + 1) / 2
    return tf.where(on * off > 0, tf.math.divide_no_nan(wins, on * off), np.nan)


def time_share(weights: tf.Tensor, cells: tf.Tensor) -> tf.Tensor:
    """Measures the share of time steps whose peak is on the actor and above the weight 1 / N.

    0..1 `[B]`, over the steps with an actor; NaN if no step has one.
    """
    shape = tf.shape(weights)
    steps = [shape[0], shape[1], shape[2] * shape[3]]
    weights = tf.reshape(weights, steps)
    truth = tf.reshape(cells, steps)
    on_actor = tf.gather(truth, tf.argmax(weights, -1), batch_dims=2)
    positions = tf.cast(tf.reduce_prod(shape[1:]), weights.dtype)
    marked = on_actor & (tf.reduce_max(weights, axis=-1) > 1 / positions)
    acting = tf.reduce_sum(tf.cast(tf.reduce_any(truth, axis=-1), tf.float32), axis=-1)
    hits = tf.reduce_sum(tf.cast(marked, tf.float32), axis=-1)
    return tf.where(acting > 0, tf.math.divide_no_nan(hits, acting), np.nan)


def off_centre(coverage: Iterable[np.ndarray]) -> np.ndarray:
    """Selects the third of the clips (at least one) whose actor is farthest from the centre.

    Args:
        coverage: Share of each cell that is the actor's, `[t, h, w]` for each clip.

    Returns:
        Selection, bool `[N]`. Distances are those of the centre of gravity, in picture heights and
        widths.
    """
    distances = []
    for clip in coverage:
        amount = clip.sum(axis=0) + 1e-12
        rows, columns = ((np.arange(side) + 0.5) / side - 0.5 for side in amount.shape)
        y, x = amount.sum(1) @ rows, amount.sum(0) @ columns
        distances.append(np.hypot(y, x) / amount.sum())
    chosen = np.zeros(len(distances), bool)
    chosen[np.argsort(-np.array(distances), kind="stable")[: max(1, len(distances) // 3)]] = True
    return chosen


class Localization(keras.metrics.Mean):
    """Averages one measure over the clips with an actor; see its subclasses.

    Args:
        strides: Strides of the backbone, see `cell_coverage`.
        threshold: Share of a cell that a mask must exceed for the cell to be the actor's.
        frame_size: Size (H, W) in pixels if the targets are boxes; None if they are masks.

    Call arguments:
        y_true: Masks `[B, T, H, W]`, 0..1, or boxes `[B, n, 4]` or `[B, T, n, 4]`, see
            `masks_from_boxes`; a clip with an empty mask, or without a box, does not count.
        y_pred: Attention map or class activation map `[B, t, h, w]`, of which the positive part
            counts; not logits.
        sample_weight: Weights `[B]`, such as `has_mask`: 0 for a clip whose actor is unknown.

    Keras logs it under the name of the layer that produces the output.

    Examples:
        >>> model.compile(loss=..., weighted_metrics={"action_attention": [Pointing(), Mass()]})
    """

    measure: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

    def __init__(
        self,
        strides: Triple | None = None,
        threshold: float = 0.25,
        frame_size: tuple[int, int] | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(name or self.measure.__name__, dtype)
        self.strides = None if strides is None else tuple(strides)
        self.threshold = threshold
        self.frame_size = None if frame_size is None else tuple(frame_size)

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        """Adds a batch to the mean."""
        masks = masks_from_boxes(y_true, self.frame_size) if self.frame_size else y_true
        weights = normalize_map(y_pred)
        coverage = cell_coverage(masks, tf.unstack(tf.shape(weights))[1:], self.strides)
        values = self.measure(weights, actor_cells(coverage, self.threshold))
        known = tf.reduce_any(coverage > 0, axis=[1, 2, 3]) & ~tf.math.is_nan(values)
        counts = tf.cast(known, tf.float32)
        if sample_weight is not None:
            counts *= tf.reshape(tf.cast(sample_weight, tf.float32), tf.shape(counts))
        return super().update_state(tf.where(known, values, 0), counts)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the metric."""
        config = {
            "strides": self.strides,
            "threshold": self.threshold,
            "frame_size": self.frame_size,
        }
        return {**super().get_config(), **config}


@keras.utils.register_keras_serializable(package="aacf")
class Pointing(Localization):
    """Computes the share of clips whose map has its peak on the actor; see `Localization`."""

    measure = staticmethod(pointing)


@keras.utils.register_keras_serializable(package="aacf")
class Mass(Localization):
    """Computes the share of the map on the actor; see `Localization`."""

    measure = staticmethod(mass)


@keras.utils.register_keras_serializable(package="aacf")
class AreaUnderCurve(Localization):
    """Computes the AUC of the map as a score of the actor's cells; see `Localization`."""

    measure = staticmethod(auc)


@keras.utils.register_keras_serializable(package="aacf")
class TimeShare(Localization):
    """Computes the share of time steps whose peak is on the actor; see `Localization`."""

    measure = staticmethod(time_share)


def _flat(values: tf.Tensor) -> tf.Tensor:
    """Flattens `[B, t, h, w]` to `[B, N]`; B may be 0."""
    shape = tf.shape(values)
    return tf.reshape(values, [shape[0], tf.reduce_prod(shape[1:])])
