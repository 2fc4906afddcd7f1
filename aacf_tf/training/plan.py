"""What a run would do, in words: `train_main.py --mode=plan`."""

from __future__ import annotations

import json

import tensorflow as tf

from aacf_tf import recipes
from aacf_tf.models.factory import make_backbone
from aacf_tf.models.heads import make_head
from aacf_tf.models.losses import SWAP_TERMS
from aacf_tf.recipes import Stage
from aacf_tf.recipes.options import coupled_decay
from aacf_tf.runs.run import Run
from aacf_tf.training.optimizers import make_schedule
from aacf_tf.weights import load_stream_weights
from tfrecords.reading.clips import count_steps

_RATES = 6  # epochs whose learning rate is shown, at most, where it changes all the time


def describe(run: Run) -> str:
    """The recipe, the data, and of every stage: what learns, how, and by which loss.

    Raises:
        UsageError: the recipe's backbone cannot be built, its weights cannot be loaded, or the
            data do not fit the recipe.
    """
    recipe = run.recipe
    run.check_data()
    backbone = make_backbone(recipe)  # refuses wrong options here, too
    lines = [json.dumps(recipes.to_dict(recipe), indent=2)]
    for name, counts in run.info.splits.items():
        lines.append(f"{name}: {counts['clips']} clips, {counts['pairs']} with a conjugate")
    lines += run.info.warnings
    start = "random weights"
    if recipe.weights:
        start = f"{recipe.weights}: {load_stream_weights(backbone, recipe.weights)}"
    lines.append(f"begins with: {start}")
    for number, stage in enumerate(recipe.stages):
        lines += _stage(run, stage)
        if number == 0 and stage.backbone_rate == 0 and not recipe.weights:
            lines.append("  Warning: a frozen backbone of random weights; give --weights=FILE.")
    if recipe.baseline == "alone" and recipe.head != "average":
        lines.append("beside it: the same stages with average pooling")
    return "\n".join(lines)


def _stage(run: Run, stage: Stage) -> list[str]:
    recipe, kind = run.recipe, run.head_of(stage)
    steps = count_steps(run.info, "train", stage.batch_size, training=True)
    total = steps * stage.epochs
    title = f"stage {stage.name}: {kind}, epochs: {stage.epochs}, steps of each: {steps}, "
    head = f"head {kind}" + (", that of the stage before" if stage.keep_head else ", a new one")
    decay = "coupled" if coupled_decay(stage) else "decoupled"
    text = f"{stage.optimizer}, weight decay {stage.weight_decay:g} ({decay}, kernels)"
    regular = [
        f"{name.replace('_', ' ')} {value:g}"
        for name in ("label_smoothing", "dropout")
        if (value := getattr(stage, name))
    ]
    lines = [
        title + f"pairs a step: {stage.batch_size}",
        f"  learns     {head}; {_backbone(run, stage, total)}",
        f"  optimizer  {', '.join([text, *regular])}",
        f"  rate       {_rates(stage, steps)}",
        f"  loss       {_loss(run, stage, kind)}",
    ]
    if stage.pairs_first:
        late = int(stage.pairs_first * total)
        lines.append(f"             to step {late} only difference and presence, where it has them")
    weights = [f"negative clips {recipe.loss.negative:g}"] if _negatives(run) else []
    if weights or recipe.data.class_weights:
        weights.append("classes balanced" if recipe.data.class_weights else "all others 1")
        lines.append(f"  weights    of samples: {', '.join(weights)}")
    if stage.patience:
        lines.append(f"  ends       after {stage.patience} epochs without a better validation")
    return lines


def _backbone(run: Run, stage: Stage, total: int) -> str:
    if stage.backbone_rate == 0:
        views = run.recipe.data.views
        cached = f", its features cached in {views} view{'s' * (views > 1)}" if views else ""
        return f"the backbone {run.recipe.backbone} is frozen{cached}"
    text = f"the backbone {run.recipe.backbone}"
    if stage.backbone_rate != 1:
        text += f" at {stage.backbone_rate:g} of the rate"
    if stage.backbone_start:
        text += f", from step {int(stage.backbone_start * total)} on"
    return text + (", its batch norms frozen" if stage.frozen_batch_norm else "")


def _rates(stage: Stage, steps: int) -> str:
    """The rate as the optimiser will have it: where it is set anew, or at evenly spread epochs."""
    total = steps * stage.epochs
    schedule = make_schedule(stage, steps * stage.epochs)
    if stage.milestones:
        marks = {0, *(round(share * total) for share, _ in stage.milestones)}
    else:
        spread = min(_RATES, stage.epochs)
        marks = {round(place * stage.epochs / spread) * steps for place in range(spread)}
        marks |= {total - 1}
    warmup = min(int(stage.warmup * total if stage.warmup < 1 else stage.warmup), total)
    marks = sorted(mark for mark in marks | {warmup} if mark < total)
    shown = [f"{float(schedule(tf.constant(m))):.3g} at epoch {m / steps:.4g}" for m in marks]
    return ", ".join(shown)


def _loss(run: Run, stage: Stage, kind: str) -> str:
    head = make_head(kind, len(run.info.labels))
    swap = run.recipe.data.swap > 0 and head.factors and stage.head == "recipe"
    terms = (*head.terms, *(SWAP_TERMS if swap else ()))
    given = run.recipe.loss.weights()
    weights = {term: given.get(term, 1.0) for term in terms}
    return " + ".join(f"{weight:g} {term}" for term, weight in weights.items() if weight)


def _negatives(run: Run) -> bool:
    """Whether there are clips without a label that have a weight of their own."""
    if run.info.multi_label:
        return False
    return any(counts.get("negatives", 0) for counts in run.info.splits.values())
