"""Describes in words what a run would do, for `train_main.py --mode=plan`."""

from __future__ import annotations

import json

import tensorflow as tf

from aacf_tf import recipes
from aacf_tf.models.factory import make_backbone
from aacf_tf.recipes import StagePlan
from aacf_tf.runs.run import Run
from aacf_tf.training.optimizers import make_schedule
from aacf_tf.weights import load_stream_weights

_RATES = 6  # epochs, at most, whose learning rate is shown for a continuous schedule


def describe(run: Run) -> str:
    """Describes the recipe, the data, and for every stage what is trained, how and by which loss.

    Raises:
        UsageError: The recipe's backbone cannot be built, its weights cannot be loaded, or the
            data do not fit the recipe.
    """
    recipe = run.recipe
    run.check_data()
    backbone = make_backbone(recipe)  # checks the options
    lines = [json.dumps(recipes.to_dict(recipe), indent=2)]
    for name, counts in run.info.splits.items():
        lines.append(f"{name}: {counts['clips']} clips, {counts['pairs']} with a conjugate")
    lines += run.info.warnings
    start = "random weights"
    if recipe.weights:
        start = f"{recipe.weights}: {load_stream_weights(backbone, recipe.weights)}"
    lines.append(f"begins with: {start}")
    for number, stage in enumerate(recipe.stages):
        lines += _stage(run, run.plan(stage))
        if number == 0 and stage.backbone_rate == 0 and not recipe.weights:
            lines.append("  Warning: a frozen backbone of random weights; give --weights=FILE.")
    if recipe.baseline == "alone" and recipe.head != "average":
        lines.append("beside it: the same stages with average pooling")
    return "\n".join(lines)


def _stage(run: Run, plan: StagePlan) -> list[str]:
    recipe, stage, kind = run.recipe, plan.stage, plan.head
    steps = plan.steps_per_epoch
    title = f"stage {stage.name}: {kind}, epochs: {stage.epochs}, steps of each: {steps}, "
    head = f"head {kind}" + (", that of the stage before" if stage.keep_head else ", a new one")
    if kind == "aacf" and recipe.action_maps > 1:
        head += f", {recipe.action_maps} action maps"
    decay = "coupled" if plan.coupled_decay else "decoupled"
    text = f"{stage.optimizer}, weight decay {stage.weight_decay:g} ({decay}, kernels)"
    regular = [
        f"{name.replace('_', ' ')} {value:g}"
        for name in ("label_smoothing", "dropout")
        if (value := getattr(stage, name))
    ]
    lines = [
        title + f"pairs a step: {stage.batch_size}",
        f"  learns     {head}; {_backbone(recipe.backbone, plan)}",
        f"  optimizer  {', '.join([text, *regular])}",
        f"  rate       {_rates(plan)}",
        f"  loss       {' + '.join(f'{w:g} {term}' for term, w in plan.loss_weights.items())}",
    ]
    remedies = {"actors swapped": plan.swap, "fame": plan.fame, "stillmix": plan.stillmix}
    shares = [f"{name} in {share:g}" for name, share in remedies.items() if share]
    if shares:
        lines.append(f"  changes    {', '.join(shares)} of the clips")
    if plan.pairs_first_steps:
        lines.append(f"             to step {plan.pairs_first_steps} only difference and presence")
    if recipe.loss.form == "apart":
        if kind == "aacf" and stage.backbone_rate:
            share = recipe.loss.branch_gradient
            lines.append(f"             {share:g} of the branch's gradient reaches the backbone")
        lines.append("  channels   standardized by the initial training features")
    if recipe.pooled_length:
        length = f"{recipe.pooled_length:g}"
        lines.append(f"  pooled     scaled to length {length} before the classifiers")
    weights = [f"negative clips {recipe.loss.negative:g}"] if _negatives(run) else []
    if weights or recipe.data.class_weights:
        weights.append("classes balanced" if recipe.data.class_weights else "all others 1")
        lines.append(f"  weights    of samples: {', '.join(weights)}")
    if stage.patience:
        lines.append(f"  ends       after {stage.patience} epochs without a better validation")
    return lines


def _backbone(name: str, plan: StagePlan) -> str:
    stage, views = plan.stage, plan.cached_views
    if views:
        plural = "s" if views > 1 else ""
        return f"the backbone {name} is frozen, its features cached in {views} view{plural}"
    if stage.backbone_rate == 0:
        return f"the backbone {name} is frozen"
    text = f"the backbone {name}"
    if stage.backbone_rate != 1:
        text += f" at {stage.backbone_rate:g} of the rate"
    if stage.backbone_start:
        text += f", from step {plan.backbone_start_step} on"
    return text + (", its batch norms frozen" if stage.frozen_batch_norm else "")


def _rates(plan: StagePlan) -> str:
    """Returns the optimizer's learning rate where it changes, or at evenly spread epochs."""
    schedule, epochs, steps = make_schedule(plan), plan.stage.epochs, plan.steps_per_epoch
    if plan.milestones:
        marks = {0, *(step for step, _ in plan.milestones)}
    else:
        spread = min(_RATES, epochs)
        marks = {round(index * epochs / spread) * steps for index in range(spread)}
        marks |= {plan.steps - 1}
    marks = sorted(mark for mark in marks | {plan.warmup_steps} if mark < plan.steps)
    shown = [f"{float(schedule(tf.constant(m))):.3g} at epoch {m / steps:.4g}" for m in marks]
    return ", ".join(shown)


def _negatives(run: Run) -> bool:
    """Returns whether the data contain clips without a label, which have a separate weight."""
    if run.info.multi_label:
        return False
    return any(counts.get("negatives", 0) for counts in run.info.splits.values())
