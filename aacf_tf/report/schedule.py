"""The training of a run as the page shows it: the curves of each stage, its phases marked."""

from __future__ import annotations

import dataclasses
from typing import Iterator, NamedTuple

from aacf_tf.evaluation.metrics import BASELINE
from aacf_tf.recipes import StagePlan
from aacf_tf.runs.checkpoints import BEST
from aacf_tf.runs.directory import read_history
from aacf_tf.runs.run import Run
from aacf_tf.visualization import curves
from aacf_tf.weights.checkpoint_folder import newest


class Phase(NamedTuple):
    """A moment of a stage, in epochs from its start, and what changes there."""

    epoch: float
    text: str


class Trained(NamedTuple):
    """A stage: its name, title and SVG of each plot, and the moments that are marked in them."""

    name: str
    plots: list[tuple[str, str]]
    phases: list[Phase]


def trained_stages(run: Run) -> Iterator[Trained]:
    """Yields each stage of a run, and of its baseline, that has a history."""
    recipe = dataclasses.replace(run.recipe, head="average", baseline="none")
    baseline = dataclasses.replace(run, recipe=recipe, workdir=run.workdir / BASELINE)
    for current, whose in ((run, ""), (baseline, "average pooling, ")):
        for stage in current.recipe.stages:
            history = read_history(current.log_folder(stage) / "history.json")
            if not history:
                continue
            phases = find_phases(current.plan(stage))
            best = newest(current.checkpoint_folder(stage) / BEST)
            if best:
                epoch = int(best.rpartition("-")[2])  # numbered by the epoch
                phases.append(Phase(epoch, "the best on validation: evaluated and exported"))
            phases = sorted(phase for phase in phases if phase.epoch <= len(history))
            plots = curves.plot(history, [phase.epoch for phase in phases])
            yield Trained(f"{whose}stage {stage.name}", plots, phases)


def find_phases(plan: StagePlan) -> list[Phase]:
    """Lists the moments at which the schedule of a stage changes, see `StagePlan`."""
    if not plan.steps_per_epoch:
        return []
    moments = [
        (plan.warmup_steps, "the learning rate has risen to its peak (warm-up)"),
        (plan.backbone_start_step, "the backbone is trained from here on, too"),
        (
            plan.pairs_first_steps,
            "all terms of the loss act from here on; before, only those of the pairs "
            "(difference, presence), so the classes are not learned yet",
        ),
        *(
            (step, f"the learning rate falls to {factor:g} of its peak")
            for step, factor in plan.milestones
        ),
    ]
    return [Phase(step / plan.steps_per_epoch, text) for step, text in moments if step]
