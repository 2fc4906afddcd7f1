"""What a model says about every clip of a split."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf

from aacf_tf.evaluation import classification, localization
from aacf_tf.models.action_model import ActionModel
from aacf_tf.models.losses import presence_score
from aacf_tf.models.streams import CHANNELS, STREAM_INPUTS
from aacf_tf.recipes import DataOptions
from aacf_tf.runs.run import Run
from aacf_tf.visualization import overlays
from tfrecords.reading.clips import count_steps
from tfrecords.reading.corruption import translate_errors
from tfrecords.utils.progress import progress

Forward = Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]


def compile_forward(run: Run, model: ActionModel) -> Forward:
    """The model's call for a batch of clips, one graph for all splits and all sizes of batches."""
    data = run.recipe.data
    sizes = [data.height, data.width]
    if data.resize == "whole" or data.test_crops > 1:
        sizes = [None, None]
    names = STREAM_INPUTS[run.recipe.modality]
    spec = {
        name: tf.TensorSpec([None, data.frames, *sizes, channels], tf.uint8)
        for name, channels in zip(names, CHANNELS[run.recipe.modality])
    }
    call = tf.function(lambda clips: model(clips, training=False), input_signature=[spec])
    return lambda inputs: call({name: inputs[name] for name in names})


def predict_split(run: Run, model: ActionModel, split: str, forward: Forward) -> dict[str, Any]:
    """Everything evaluation needs about a split, in the order of its records.

    `forward` is the model's call for a batch, see `compile_forward`. Scores are means over the
    views of the recipe (`data.test_clips`, `data.test_crops`); maps are of the centre of the clip
    and its whole frame.

    Returns:
        id `[N]` of str; targets bool `[N, K]`; action, context, combined: probabilities `[N, K]`;
        presence `[N]`: how far an action is there at all (see `losses.presence_score`); evidence,
        context_attention: maps `[N, t, h, w]`, weights summing to 1 a clip (evidence: the action
        attention, or the class activation of the predicted class); masked bool `[N]`: the actor is
        known and in the picture; coverage `[N, t, h, w]`: the share of each cell that the mask
        covers; difference `[N, t, h, w]`: the mean absolute frame difference of each cell, as
        weights; shown bool `[N, t, h, w]`: where the action map as displayed is above .5. Scores,
        presence, context_attention and shown only where the head has them; difference only where
        the model sees frames, and more than one. Where frames differ in size and so do the maps, an
        array of arrays.
    """
    stage = run.recipe.stages[-1]
    classes = len(run.info.labels)
    strides = model.strides()
    collected: dict[str, list[np.ndarray]] = {}

    def keep(name: str, value: np.ndarray) -> None:
        collected.setdefault(name, []).append(value)

    steps = count_steps(run.info, split, run.batch_size(stage, False), training=False)
    views = _views(run.recipe.data)

    def read(name: str, **options: Any) -> Iterable[tuple[Any, ...]]:
        batches = run.batches(split, stage, training=False, **options)
        return progress(batches, total=steps, desc=f"evaluate {split}{name}", leave=False)

    with translate_errors(run.data):
        for inputs, targets, _ in read("", masks=True):
            outputs = {name: value.numpy() for name, value in forward(inputs).items()}
            keep("id", inputs["id"].numpy().astype(str))
            targets = targets.numpy()
            if not run.info.multi_label:
                targets = np.eye(classes + 1, dtype=bool)[targets][:, :classes]
            keep("targets", targets > 0)
            for score, chances in _chances(run, outputs).items():
                keep(score, chances)
            if "presence" in model.head.terms:
                keep("presence", presence_score(outputs["action_logits"]).numpy())
            if "context_attention" in outputs:
                keep("context_attention", outputs["context_attention"])
            if "action_attention" in outputs:
                keep("evidence", outputs["action_attention"])
                heat = [overlays.display_attention(m) for m in outputs["action_attention"]]
                keep("shown", np.stack(heat) > 0.5)
            else:
                evidence = localization.normalize_map(outputs["class_activation"])
                keep("evidence", evidence.numpy())
            grid = collected["evidence"][-1].shape[1:]
            coverage = localization.cell_coverage(inputs["mask"], grid, strides).numpy()
            keep("coverage", coverage)
            keep("masked", inputs["has_mask"].numpy() & (coverage > 0).any((1, 2, 3)))
            if run.recipe.modality != "flow" and run.recipe.data.frames > 1:
                keep("difference", _frame_difference(inputs["clip"], grid, strides).numpy())
        sums: dict[str, Any] = {}
        for number, view in enumerate(views, start=1):
            parts = [
                _chances(run, {name: value.numpy() for name, value in forward(inputs).items()})
                for inputs, *_ in read(f", view {number} of {len(views)}", view=view)
            ]
            for score in parts[0]:
                sums[score] = sums.get(score, 0) + np.concatenate([part[score] for part in parts])
    means = {score: total / len(views) for score, total in sums.items()}
    return {**{name: join(parts) for name, parts in collected.items()}, **means}


def _chances(run: Run, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Score -> probabilities `[B, K]` of the real classes, by the scores that the head has."""
    chances = {}
    for score in classification.SCORES:
        if f"{score}_scores" in outputs:
            scores = outputs[f"{score}_scores"]
            if run.info.multi_label:
                values = 1 / (1 + np.exp(-scores.astype(np.float64)))
            else:
                values = classification.softmax(scores)
            chances[score] = values[:, : len(run.info.labels)]
    return chances


def _views(data: DataOptions) -> list[tuple[float, Any, Any]]:
    """Start, top and left of every view, 0..1, see `read_dataset`; none where one view is all."""
    if data.test_clips == data.test_crops == 1:
        return []
    # Three along the diagonal: along the longer side, where the shorter has no room.
    line = [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]
    places = {1: [(None, None)], 3: line, 5: [*line, (0.0, 1.0), (1.0, 0.0)]}[data.test_crops]
    times = [(number + 0.5) / data.test_clips for number in range(data.test_clips)]
    return [(time, *place) for time in times for place in places]


def join(parts: list[np.ndarray]) -> np.ndarray:
    """Batches one after the other; of differing shapes, an array of each clip's array."""
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    clips = [clip for part in parts for clip in part]
    joined = np.empty(len(clips), object)
    joined[:] = clips
    return joined


def _frame_difference(
    clips: tf.Tensor, grid: tuple[int, int, int], strides: tuple[int, int, int]
) -> tf.Tensor:
    """Mean absolute difference of neighbouring frames in each cell, as weights summing to 1."""
    clips = tf.cast(clips, tf.float32)
    change = tf.reduce_mean(tf.abs(clips[:, 1:] - clips[:, :-1]), axis=-1)
    # The first frame's is that of the second.
    change = tf.concat([change[:, :1], change], axis=1)
    return localization.normalize_map(localization.cell_coverage(change, grid, strides))
