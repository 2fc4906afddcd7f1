"""Compiles a stage of a recipe: derived settings are worked out here and nowhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, Tuple

from aacf_tf.recipes.options import (
    APART_TERMS,
    HEAD_TERMS,
    PAIR_HEADS,
    REMEDY_TERMS,
    SWAP_TERMS,
    Recipe,
    Stage,
)


@dataclass(frozen=True)
class StagePlan:
    """One stage as it is trained on a data set.

    Attributes:
        stage: Settings that need no interpretation.
        head: One of HEADS.
        pairs: Whether the head's loss needs conjugates.
        loss_weights: Weight of each term that acts.
        swap: Share of training pairs whose actor is pasted into another clip's scene.
        fame, stillmix: Shares of training clips that these remedies change.
        frozen_conjugates: Share of training pairs whose conjugate repeats the clip's first frame;
            1 if nothing looks at conjugates, which then need not be decoded.
        steps: Training steps of the whole stage.
        warmup_steps: Steps of the linear warm-up.
        milestones: Pairs of (step, factor of the peak learning rate); none: a cosine to 0.
        pairs_first_steps: Steps from the start in which only `difference` and `presence` act.
        first_judged_epoch: Index of the first epoch that may be the best on validation.
        backbone_start_step: First step that trains the backbone.
        coupled_decay: Weight decay that belongs into the loss.
        decoupled_decay: Weight decay that the optimizer applies; None: it applies none.
        test_batch_size: Clips per batch of evaluation.
        cached_views: Views per training clip in which features are cached; 0: none are.
    """

    stage: Stage
    head: str
    pairs: bool
    loss_weights: Dict[str, float]
    swap: float
    fame: float
    stillmix: float
    frozen_conjugates: float
    steps: int
    warmup_steps: int
    milestones: Tuple[Tuple[int, float], ...]
    pairs_first_steps: int
    first_judged_epoch: int
    backbone_start_step: int
    coupled_decay: float
    decoupled_decay: float | None
    test_batch_size: int
    cached_views: int

    @property
    def steps_per_epoch(self) -> int:
        """Training steps of one epoch."""
        return self.steps // self.stage.epochs


def plan_stage(recipe: Recipe, stage: Stage, steps: int = 0) -> StagePlan:
    """Returns the plan of a stage.

    Args:
        recipe: Recipe of the stage.
        stage: Stage to plan.
        steps: Training steps of the whole stage, which depend on the data set.
    """
    data = recipe.data
    head = stage.head or recipe.head
    pairs = head in PAIR_HEADS
    own = stage.head is None
    swap = data.swap if own else 0.0
    terms, factors = HEAD_TERMS[head], "difference" in HEAD_TERMS[head]
    known = recipe.loss.weights()
    if head == "aacf" and recipe.loss.form == "apart":
        terms = APART_TERMS
        mixed = recipe.loss.average_on == "mix"
        known["average_swap"] = known["average"] if mixed and swap else 0.0
        known["average_uniform"] *= mixed
    elif swap and factors:
        terms = (*terms, *SWAP_TERMS)
    if own:
        terms = (*terms, *REMEDY_TERMS)
    weights = {term: known.get(term, 1.0) for term in terms}
    warmup = stage.warmup * steps if stage.warmup < 1 else stage.warmup
    decoupled = stage.optimizer in ("adamw", "sgdw")
    return StagePlan(
        stage=stage,
        head=head,
        pairs=pairs,
        loss_weights={term: weight for term, weight in weights.items() if weight},
        swap=swap,
        fame=data.fame if own else 0.0,
        stillmix=data.stillmix if own else 0.0,
        frozen_conjugates=data.frozen_conjugates if pairs or swap else 1.0,
        steps=steps,
        warmup_steps=min(int(warmup), steps),
        milestones=tuple((round(share * steps), factor) for share, factor in stage.milestones),
        # Heads without factors would learn nothing in that time.
        pairs_first_steps=int(stage.pairs_first * steps) if factors else 0,
        first_judged_epoch=math.ceil(stage.pairs_first * stage.epochs),
        backbone_start_step=int(stage.backbone_start * steps),
        coupled_decay=0.0 if decoupled else stage.weight_decay,
        decoupled_decay=stage.weight_decay if decoupled else None,
        # Whole frames differ in size.
        test_batch_size=1 if data.resize == "whole" else stage.batch_size,
        cached_views=data.views or 0 if stage.backbone_rate == 0 else 0,
    )
