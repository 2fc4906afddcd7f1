"""Variants of recipes for pretrained weights."""

from __future__ import annotations

import dataclasses
from typing import Any

from aacf_tf.recipes.options import LossOptions, Recipe, Stage

_LOSS = LossOptions(form="apart", average_on="clips", difference=0.5, uniform=0.25, presence=0.5)
_HEAD: dict[str, Any] = {
    "loss": _LOSS,
    "hidden": 64,
    # Standardized channels are 36 long for 1280 of them: average pooling then learns training clips
    # by heart, and the map those cells that tell them apart.
    "pooled_length": 8.0,
    "score": "combined",
    "average_weight": 1.0,
    "context_weight": 0.0,
}
_SCHEDULE: dict[str, Any] = {
    "epochs": 8,
    "batch_size": 32,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.02,
    "label_smoothing": 0.1,
    "dropout": 0.2,
}
FINE_TUNING = Stage("fine_tuning", backbone_rate=0.2, frozen_batch_norm=True, **_SCHEDULE)
_HEADS = Stage("heads", backbone_rate=0.0, **_SCHEDULE)
_PAPER = ("actionthread", "hollywood2", "hacs30", "voc2012")


def pretrained(recipe: Recipe) -> Recipe:
    """Returns the variant of a recipe for pretrained weights; other recipes unchanged.

    The loss form is `apart`; the served score `combined` adds action and average expert, which beat
    either on real footage (`benchmarks/real.py`), and leaves the context out, which follows scenes.
    `stills` trains heads on the features of the frozen backbone, computed once, and `default`
    fine-tunes, each in one stage (36 epochs at 2e-3 would wreck pretrained weights) and at sides of
    32 k + 1 pixels; average pooling beside them is trained alike. The paper's recipes keep its
    schedules and sizes.

    Args:
        recipe: Recipe as `load_recipe` returns it.
    """
    if recipe.name in _PAPER:
        return dataclasses.replace(recipe, **_HEAD)
    if recipe.name == "default":
        data, stage = dataclasses.replace(recipe.data, height=129, width=161), FINE_TUNING
    elif recipe.name == "stills":
        # At the size of ImageNet's networks, frozen features classify as well as tuned ones and
        # better than features tuned at half of it, in a fraction of the time. A window of 8 x 8
        # cells takes the place of one of the photograph.
        data = dataclasses.replace(
            recipe.data,
            height=257,
            width=257,
            crop=1.0,
            flip=False,
            cache=False,
            views=1,
            map_crop=8,
        )
        stage = _HEADS
    else:
        return recipe
    return dataclasses.replace(recipe, data=data, stages=(stage,), baseline="alone", **_HEAD)
