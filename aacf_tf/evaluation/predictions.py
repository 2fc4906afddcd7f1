"""Runs a model on clips: on every clip of a split, or on one."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from aacf_tf.backbones.receptive_field import receptive_field
from aacf_tf.evaluation import classification, localization
from aacf_tf.models.action_model import ActionModel
from aacf_tf.models.losses import presence_score
from aacf_tf.recipes import DataOptions
from aacf_tf.runs.run import Run
from aacf_tf.visualization import overlays
from tfrecords.reading.clips import count_steps
from tfrecords.reading.corruption import translate_errors
from tfrecords.records.names import MODALITIES
from tfrecords.utils.progress import progress

Forward = Callable[[Mapping[str, Any]], Mapping[str, np.ndarray]]


@dataclass
class SplitOutputs:
    """Everything evaluation needs about the N clips of a split, in the order of its records.

    Maps are those of the centre of the clip and its whole frame. If frames differ in size, and so
    the maps, they are arrays of arrays. What the head or the data lack is None.
    """

    id: np.ndarray  # str [N]
    targets: np.ndarray  # bool [N, K]
    # Action attention, or class activation of the predicted class; weights summing to 1 a clip.
    evidence: np.ndarray  # [N, t, h, w]
    masked: np.ndarray  # bool [N]: the actor is known and in the picture
    coverage: np.ndarray  # [N, t, h, w]: the share of each cell that the mask covers
    scores: dict[str, np.ndarray]  # score -> probabilities [N, K]
    presence: np.ndarray | None = None  # [N], see `losses.presence_score`
    context_attention: np.ndarray | None = None  # [N, t, h, w], weights summing to 1 a clip
    shown: np.ndarray | None = None  # bool [N, t, h, w]: the displayed action map is above .5
    difference: np.ndarray | None = None  # [N, t, h, w]: mean absolute frame difference, as weights


def compile_forward(run: Run, model: ActionModel) -> Forward:
    """Returns the model's call for a batch of clips, one graph for all splits and batch sizes."""
    data = run.recipe.data
    sizes = [data.height, data.width]
    if data.resize == "whole" or data.test_crops > 1:
        sizes = [None, None]
    spec = {
        name: tf.TensorSpec([None, data.frames, *sizes, stream.channels], tf.uint8)
        for name, stream in MODALITIES[run.recipe.modality].inputs.items()
    }
    call = tf.function(lambda clips: model(clips, training=False), input_signature=[spec])

    def forward(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        outputs = call({name: inputs[name] for name in spec})
        return {name: value.numpy() for name, value in outputs.items()}

    return forward


def predict_clip(
    model: ActionModel, inputs: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Runs a model on one clip.

    Args:
        model: Trained model.
        inputs: Name to uint8 `[T, h, w, C]`, as the model takes it but for the batch.

    Returns:
        The head's outputs for the clip, and where the cells of its maps lie: frames `[t]`, rows
        `[h]` and columns `[w]` of the input.
    """
    batch = {name: value[None] for name, value in inputs.items()}
    outputs = {name: value.numpy()[0] for name, value in model(batch, training=False).items()}
    axes = receptive_field(model.geometry, inputs["clip"].shape[:3])
    return outputs, [axis.centres for axis in axes]


def predict_split(run: Run, model: ActionModel, split: str, forward: Forward) -> SplitOutputs:
    """Runs a model on every clip of a split.

    Scores are means over the views of the recipe (`data.test_clips`, `data.test_crops`).

    Args:
        run: Run whose data set has the split.
        model: Model in float32.
        split: Name of the split.
        forward: The model's call, see `compile_forward`.
    """
    stage = run.recipe.stages[-1]
    steps = count_steps(run.info, split, run.plan(stage).test_batch_size, training=False)
    views, strides = _views(run.recipe.data), model.strides()

    def read(name: str, **options: Any) -> Iterable[tuple[Any, ...]]:
        batches = run.batches(split, stage, training=False, **options)
        return progress(batches, total=steps, desc=f"evaluate {split}{name}", leave=False)

    with translate_errors(run.data):
        outputs = _concatenate(
            [
                _predict_batch(run, model, strides, inputs, targets.numpy(), forward(inputs))
                for inputs, targets, _ in read("", masks=True)
            ]
        )
        totals: dict[str, Any] = {}
        for number, view in enumerate(views, start=1):
            batches = read(f", view {number} of {len(views)}", view=view)
            parts = [_probabilities(run, forward(inputs)) for inputs, *_ in batches]
            for score in outputs.scores:
                chances = np.concatenate([part[score] for part in parts])
                totals[score] = totals.get(score, 0) + chances
    outputs.scores.update({score: total / len(views) for score, total in totals.items()})
    return outputs


def _predict_batch(
    run: Run,
    model: ActionModel,
    strides: Sequence[int],
    inputs: Mapping[str, tf.Tensor],
    targets: np.ndarray,
    outputs: Mapping[str, np.ndarray],
) -> SplitOutputs:
    if "action_attention" in outputs:
        evidence = outputs["action_attention"]
        logits = overlays.attention_logits(evidence)
        shown = np.stack([overlays.display(clip) for clip in logits]) > 0.5
    else:
        evidence = localization.normalize_map(outputs["class_activation"]).numpy()
        shown = None
    grid = evidence.shape[1:]
    coverage = localization.cell_coverage(inputs["mask"], grid, strides).numpy()
    batch = SplitOutputs(
        id=inputs["id"].numpy().astype(str),
        targets=classification.to_targets(targets, len(run.info.labels), run.info.multi_label),
        evidence=evidence,
        masked=inputs["has_mask"].numpy() & (coverage > 0).any((1, 2, 3)),
        coverage=coverage,
        scores=_probabilities(run, outputs),
        context_attention=outputs.get("context_attention"),
        shown=shown,
    )
    if "presence" in model.head.terms:
        batch.presence = presence_score(tf.constant(outputs["action_logits"])).numpy()
    if run.recipe.modality != "flow" and run.recipe.data.frames > 1:
        batch.difference = _frame_difference(inputs["clip"], grid, strides).numpy()
    return batch


def _probabilities(run: Run, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns score -> probabilities `[B, K]` of the real classes, by the head's scores."""
    classes, multi_label = len(run.info.labels), run.info.multi_label
    return {
        score: classification.to_probabilities(outputs[f"{score}_scores"], classes, multi_label)
        for score in classification.SCORES
        if f"{score}_scores" in outputs
    }


def _views(data: DataOptions) -> list[tuple[float, Any, Any]]:
    """Lists start, top and left of every view, 0..1, see `read_dataset`; empty for one view."""
    if data.test_clips == data.test_crops == 1:
        return []
    # Three along the diagonal, of which only the longer side leaves room to move.
    line = [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]
    corners = {1: [(None, None)], 3: line, 5: [*line, (0.0, 1.0), (1.0, 0.0)]}[data.test_crops]
    times = [(number + 0.5) / data.test_clips for number in range(data.test_clips)]
    return [(time, *corner) for time in times for corner in corners]


def _concatenate(parts: list[SplitOutputs]) -> SplitOutputs:
    joined: dict[str, Any] = {}
    for name in (item.name for item in fields(SplitOutputs)):
        values = [getattr(part, name) for part in parts]
        if name == "scores":
            joined[name] = {score: join([part[score] for part in values]) for score in values[0]}
        elif values[0] is not None:
            joined[name] = join(values)
    return SplitOutputs(**joined)


def join(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenates batches; if their shapes differ, into an array of each clip's array."""
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    clips = [clip for part in parts for clip in part]
    joined = np.empty(len(clips), object)
    joined[:] = clips
    return joined


def _frame_difference(clips: tf.Tensor, grid: Sequence[int], strides: Sequence[int]) -> tf.Tensor:
    """Returns the mean absolute difference of neighbouring frames, as weights of the cells."""
    clips = tf.cast(clips, tf.float32)
    change = tf.reduce_mean(tf.abs(clips[:, 1:] - clips[:, :-1]), axis=-1)
    # The first frame has no predecessor and takes the second one's difference.
    change = tf.concat([change[:, :1], change], axis=1)
    return localization.normalize_map(localization.cell_coverage(change, grid, strides))
