"""Variants of recipes for pretrained weights."""

from __future__ import annotations

import dataclasses
from typing import Any

from aacf_tf.recipes.options import LossOptions, Recipe, Stage

_LOSS = LossOptions(form="apart", average_on="clips", difference=0.5, uniform=0.25, presence=0.5)
_HEAD: dict[str, Any] = {
    "loss": _LOSS,
    "hidden": 64,
    "action_maps": 4,
    # Standardized channels are 36 long for 1280 of them: average pooling then learns training clips
    # by heart, and the map those cells that tell them apart.
    "pooled_length": 8.0,
    "score": "combined",
}
# Chosen by folds of J-HMDB (`benchmarks/real.py`): the most mean AP at which actors in strange
# scenes are taken for the scene's class in 8 % or less. On clips the action alone tells more.
_OF_PHOTOGRAPHS = {"average_weight": 1.0, "context_weight": 0.1}
_OF_CLIPS = {"average_weight": 0.5, "context_weight": 0.0}
_SCHEDULE: dict[str, Any] = {
    "batch_size": 32,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.02,
    "label_smoothing": 0.1,
    "dropout": 0.2,
}
FINE_TUNING = Stage("fine_tuning", epochs=8, backbone_rate=0.2, frozen_batch_norm=True, **_SCHEDULE)
HEADS_ALONE = Stage("heads", epochs=16, backbone_rate=0.0, **_SCHEDULE)
_PAPER = ("actionthread", "hollywood2", "hacs30", "voc2012")


def pretrained(recipe: Recipe, fine_tune: bool = False) -> Recipe:
    """Returns the variant of a recipe for pretrained weights; other recipes unchanged.

    The loss form is `apart`; the served score `combined` adds action and average expert, which beat
    either on real footage (`benchmarks/real.py`), and of photographs a tenth of the context's.
    `default` and `stills` have one stage (36 epochs at 2e-3 would wreck pretrained weights): heads
    on features of the frozen backbone, computed once, or fine-tuning at half the size; average
    pooling beside them is trained alike. On 1056 photographs average pooling on frozen features
    classified as well as on tuned ones of the same size (docs/method.md), in a fraction of the
    time. The paper's recipes keep its schedules and sizes.

    Args:
        recipe: Recipe as `load_recipe` returns it.
        fine_tune: Whether the backbone of `default` and `stills` learns.
    """
    head = {**_HEAD, **(_OF_PHOTOGRAPHS if recipe.data.frames == 1 else _OF_CLIPS)}
    if recipe.name in _PAPER:
        return dataclasses.replace(recipe, **head)
    if recipe.name not in ("default", "stills"):
        return recipe
    whole = recipe.data.resize == "whole"
    # Sides of 32 k + 1 pixels.
    if fine_tune:
        changes: dict[str, Any] = {"height": 129, "width": 161}
        if whole:
            # Its windows move along the longer side; a smaller one would not be of such sides.
            changes.update(width=129, crop=1.0)
    else:
        changes = {"height": 193, "width": 257, "crop": 1.0, "flip": False, "views": 1}
        if whole:
            # A window of 8 x 8 cells takes the place of one of the photograph.
            changes.update(height=257, cache=False, map_crop=8)
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, **changes),
        stages=(FINE_TUNING if fine_tune else HEADS_ALONE,),
        baseline="alone",
        **head,
    )
