"""Evaluates the split `validation` after every epoch: metrics, mean AP and pictures."""

from __future__ import annotations

import math
from typing import Any, Callable

import numpy as np
import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.receptive_field import receptive_field
from aacf_tf.evaluation import localization
from aacf_tf.evaluation.classification import classification, to_probabilities, to_targets
from aacf_tf.evaluation.map_scores import mean, measure_maps
from aacf_tf.evaluation.predictions import join
from aacf_tf.models.action_model import ActionModel
from aacf_tf.recipes import Stage
from aacf_tf.runs.run import Run
from aacf_tf.visualization import panels
from aacf_tf.visualization.curves import confusion_picture
from aacf_tf.visualization.overlays import map_logits
from tfrecords.media import pictures
from tfrecords.reading.clips import count_steps
from tfrecords.utils.progress import progress

_SHOWN = ("clip", "mask", "has_mask")
_CLIPS = 4  # clips shown with their maps
_TIMES = 10  # epochs per stage after which pictures are made
_DRAWN = ("action_logits", "class_activation", "context_attention")  # maps
_MEASURED = {"action": "action_attention", "context": "context_attention"}


class Validation(keras.callbacks.Callback):
    """Adds `val_...` to the logs of every epoch, as `fit` would with `validation_data`.

    One pass computes everything, including the scores of the whole split for the mean AP. Must come
    before callbacks that read the logs. Each of several workers evaluates the whole split.

    Args:
        run: Run that is trained.
        stage: Its stage.
        model: Model of the stage.
        batches: Batches of the split, distributed by the strategy, without strings.
    """

    def __init__(self, run: Run, stage: Stage, model: ActionModel, batches: Any):
        super().__init__()
        self._run, self._stage, self._batches = run, stage, batches
        self._strides = model.strides()
        self._function: Callable | None = None
        self._results: dict[str, list[np.ndarray]] = {}
        self._first: dict[str, np.ndarray] = {}  # clips and maps of the first batch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.reset_metrics()
        strategy = tf.distribute.get_strategy()
        self._function = self._function or self._make_function(strategy)
        self._results = {}
        size = self._run.plan(self._stage).test_batch_size
        steps = count_steps(self._run.info, "validation", size, training=False)
        bar = progress(self._batches, total=steps, desc="validation", leave=False, disable=None)
        for batch in bar:
            outputs = self._function(*batch)
            if not self._results:
                # The pictures need no more.
                shown = {name: batch[0][name] for name in _SHOWN if name in batch[0]}
                shown.update({name: outputs[name] for name in _DRAWN if name in outputs})
                self._first = {
                    name: self._gather(values)[:_CLIPS] for name, values in shown.items()
                }
            for name in ("scores", "targets", "coverage", *_MEASURED.values()):
                if name in outputs:
                    self._results.setdefault(name, []).append(self._gather(outputs[name]))
        values = {metric.name: float(metric.result()) for metric in self.model.metrics}
        if "coverage" in self._results:
            values.update(self._measure_maps())
        mean_ap = classification(*self._scores(), self._run.info.labels)["mean_ap"]
        if mean_ap is not None:
            values["mean_ap"] = mean_ap
        logs.update({f"val_{name}": value for name, value in values.items()})

    def pictures(self, epoch: int) -> dict[str, np.ndarray]:
        """Returns confusion matrix and maps, uint8 `[h, w, 3]` by name; none after most epochs.

        The name of a clip's maps holds its classes; the title says what the model answers.
        """
        every = math.ceil(self._stage.epochs / _TIMES)
        if (epoch + 1) % every and epoch + 1 < self._stage.epochs:
            return {}
        shown = {}
        if not self._run.info.multi_label:
            shown["confusion"] = confusion_picture(*self._scores(), self._run.info.labels)
        if "clip" not in self._first:  # cached features
            return shown
        probabilities, targets = self._scores()
        labels = np.array(self._run.info.labels)
        axes = receptive_field(self.model.geometry, self._first["clip"].shape[1:4])
        centres = [axis.centres for axis in axes]
        for index, pixels in enumerate(self._first["clip"]):
            mask = self._first["mask"][index] > 0 if self._first["has_mask"][index] else None
            outputs = {name: self._first[name][index] for name in _DRAWN if name in self._first}
            rows = panels.draw_maps(pixels, mask, outputs, centres)
            true = ", ".join(labels[targets[index]]) or "no action"
            best = int(probabilities[index].argmax())
            maps = ", ".join(f"{title} map" for title, _ in map_logits(outputs))
            title = f"{true} (predicted: {labels[best]} {probabilities[index][best]:.2f})"
            titles = [title, f"rows: frames, {maps}"]
            picture = pictures.with_titles(pictures.join(rows), titles, 28)
            shown[f"maps/{index + 1}: {true}"] = picture
        return shown

    @staticmethod
    def _gather(values: Any) -> np.ndarray:
        """Returns the values of all replicas of this process as one array."""
        parts = tf.distribute.get_strategy().experimental_local_results(values)
        return np.concatenate([part.numpy() for part in parts])

    def _make_function(self, strategy: tf.distribute.Strategy) -> Callable:
        model = self.model

        def judge(x: Any, y: tf.Tensor, weights: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = _call(model, x, tf.shape(y)[0])
            model.compute_loss(x, y, outputs, weights)
            model.compute_metrics(x, y, outputs, weights)
            scores = outputs.get(f"{self._run.recipe.score}_scores", outputs["combined_scores"])
            names = (*_DRAWN, *_MEASURED.values())
            kept = {name: outputs[name] for name in names if name in outputs}
            if "mask" in x and "action_attention" in outputs:
                grid = tf.unstack(tf.shape(outputs["action_attention"]))[1:]
                kept["coverage"] = localization.cell_coverage(x["mask"], grid, self._strides)
            return {"targets": y, "scores": scores, **kept}

        @tf.function(input_signature=self._batches.element_spec)
        def on_all(*batch: Any) -> dict[str, Any]:
            return strategy.run(judge, args=batch)

        return on_all

    def _measure_maps(self) -> dict[str, float]:
        """Returns the means of the measures over the clips with an actor, as the evaluation's."""
        results = {name: join(parts) for name, parts in self._results.items()}
        coverage = results["coverage"]
        known = np.array([(clip > 0).any() for clip in coverage])  # no mask is a mask of 0
        maps = {key: results[name][known] for key, name in _MEASURED.items() if name in results}
        recipe = self._run.recipe
        values = measure_maps(
            maps, coverage[known], recipe.mask_threshold, timed=recipe.data.frames > 1
        )
        means = {name: mean(value) for name, value in values.items() if name != "area"}
        return {name: value for name, value in means.items() if value is not None}

    def _scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns probabilities and targets (bool), both `[N, K]`."""
        info = self._run.info
        scores, targets = (np.concatenate(self._results[name]) for name in ("scores", "targets"))
        return (
            to_probabilities(scores, len(info.labels), info.multi_label),
            to_targets(targets, len(info.labels), info.multi_label),
        )


def _call(model: keras.Model, x: Any, clips: tf.Tensor) -> Any:
    """Returns the model's outputs; a replica may get no clips of a last batch.

    oneDNN's convolutions do not take an empty batch, so the model then sees one clip of zeros.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return model(x, training=False)

    def fill(value: tf.Tensor) -> tf.Tensor:
        shape = tf.concat([[tf.cast(clips == 0, tf.int32)], tf.shape(value)[1:]], axis=0)
        filled = tf.concat([value, tf.zeros(shape, value.dtype)], axis=0)
        return tf.ensure_shape(filled, value.shape)

    outputs = model(tf.nest.map_structure(fill, x), training=False)
    return tf.nest.map_structure(lambda value: value[:clips], outputs)
