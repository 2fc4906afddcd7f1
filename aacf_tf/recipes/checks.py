"""Refuses recipes that no run can use."""

from __future__ import annotations

import math
import re
from dataclasses import fields

from aacf_tf.backbones import BACKBONES, IMAGE_BACKBONES
from aacf_tf.recipes.options import (
    EXPORT_PRECISIONS,
    HEADS,
    MODALITIES,
    OPTIMIZERS,
    PRECISIONS,
    STRATEGIES,
    Recipe,
)
from tfrecords.utils.errors import UsageError

_FOLDER = re.compile(r"\w[\w.-]*")


def check(recipe: Recipe) -> None:
    """Refuses what no run can use, before anything is started.

    Raises:
        UsageError: naming the field, what was expected and what came.
    """
    data, loss = recipe.data, recipe.loss
    names = [stage.name for stage in recipe.stages]
    if not names or len({*names}) < len(names) or not all(map(_FOLDER.fullmatch, names)):
        raise UsageError(
            "stages: expected one or more, each with a name of its own that a folder can have, "
            f"received {', '.join(map(repr, names)) or 'none'}."
        )
    words = {
        "backbone": (recipe.backbone, BACKBONES),
        "head": (recipe.head, HEADS),
        "score": (recipe.score, ("action", "combined")),
        "baseline": (recipe.baseline, ("alone", "stage", "none")),
        "precision": (recipe.precision, PRECISIONS),
        "export_precision": (recipe.export_precision, EXPORT_PRECISIONS),
        "strategy": (recipe.strategy, STRATEGIES),
        "modality": (recipe.modality, MODALITIES),
        "data.shard": (data.shard, ("record", "file")),
        "data.class_weights": (data.class_weights, ("", "balanced")),
        "data.resize": (data.resize, ("stretch", "short_side", "whole")),
    }
    numbers = {
        "data.frames": (data.frames, 1, None),
        "data.height": (data.height, 8, None),
        "data.width": (data.width, 8, None),
        "data.fps": (data.fps, 0, None),
        "data.crop": (data.crop, 0.01, 1),
        "data.frozen_conjugates": (data.frozen_conjugates, 0, 1),
        "data.swap": (data.swap, 0, 1),
        "data.jitter": (data.jitter, 0, 0.99),
        "data.views": (data.views, 0, None),
        "data.map_crop": (data.map_crop, 0, None),
        "data.test_clips": (data.test_clips, 1, None),
        "hidden": (recipe.hidden, 0, None),
        "mask_threshold": (recipe.mask_threshold, 0, 1),
        "seed": (recipe.seed, 0, 2**31 - 1),
        "keep": (recipe.keep, 1, None),
        "save_minutes": (recipe.save_minutes, 0, None),
    }
    numbers.update(
        {f"loss.{item.name}": (getattr(loss, item.name), 0, None) for item in fields(loss)}
    )
    for place, stage in enumerate(recipe.stages):
        prefix = f"stages.{place}"
        words[f"{prefix}.head"] = (stage.head, (*HEADS, "recipe"))
        words[f"{prefix}.optimizer"] = (stage.optimizer, OPTIMIZERS)
        limits = {"epochs": 1, "batch_size": 1, "patience": 0}
        limits.update({"learning_rate": 0, "warmup": 0, "weight_decay": 0})
        numbers.update(
            {f"{prefix}.{n}": (getattr(stage, n), low, None) for n, low in limits.items()}
        )
        shares = ("backbone_rate", "backbone_start", "label_smoothing", "dropout", "pairs_first")
        for name in shares:
            numbers[f"{prefix}.{name}"] = (getattr(stage, name), 0, 1)
        for number, (share, factor) in enumerate(stage.milestones):
            numbers[f"{prefix}.milestones.{number}.0"] = (share, 0, 1)
            numbers[f"{prefix}.milestones.{number}.1"] = (factor, 0, None)
    for name, (value, allowed) in words.items():
        if value not in allowed:
            expected = ", ".join(word or "nothing" for word in allowed)
            raise UsageError(f"{name}: expected one of {expected}, received {value!r}.")
    for name, (value, low, high) in numbers.items():
        # A config.json may have been edited.
        known = isinstance(value, (int, float)) and math.isfinite(value)
        if not (known and low <= value and (high is None or value <= high)):
            expected = f"at least {low:g}" if high is None else f"{low:g} to {high:g}"
            raise UsageError(f"{name}: expected {expected}, received {value!r}.")
    if recipe.modality != "rgb" and recipe.backbone in IMAGE_BACKBONES:
        raise UsageError(
            f"modality: expected rgb for the backbone {recipe.backbone}, which is of photographs, "
            f"received {recipe.modality}."
        )
    if recipe.export_winograd and recipe.export_precision != "float32":
        raise UsageError(
            "export_winograd: expected false with export_precision=mixed_bfloat16, in which "
            "Winograd's method loses too much to rounding, received true."
        )
    if data.test_crops not in (1, 3, 5):
        raise UsageError(f"data.test_crops: expected 1, 3 or 5, received {data.test_crops}.")
    if data.test_crops > 1 and data.crop == 1 and data.resize != "whole":
        raise UsageError(
            "data.test_crops: expected 1 where training sees the whole frame (data.crop=1), "
            f"received {data.test_crops}."
        )
    if data.frames == 1 and data.frozen_conjugates:
        raise UsageError(
            "data.frozen_conjugates: expected 0 where a clip is one frame (data.frames=1), whose "
            f"first one is all of it, received {data.frozen_conjugates:g}."
        )
    if data.map_crop and not data.views:
        raise UsageError(
            "data.map_crop: expected 0 where no features are cached (data.views=0), "
            f"received {data.map_crop}."
        )
    if data.views and any(s.backbone_rate == 0 and s.head == "recipe" for s in recipe.stages):
        if data.swap:
            raise UsageError(
                "data.views: expected 0 with data.swap, whose pairs cannot be cached, "
                f"received {data.views}; set data.swap to 0."
            )
        if data.frozen_conjugates and data.views == 1:
            raise UsageError(
                "data.views: expected 2 or more with data.frozen_conjugates, of which the first "
                "view has none, received 1."
            )
    for place, stage in enumerate(recipe.stages):
        before = recipe.stages[place - 1].head if place else "none"
        if stage.keep_head and stage.head != before:
            raise UsageError(
                f"stages.{place}.keep_head: expected the stage before it to train the head "
                f"{stage.head!r}, received {before!r}."
            )
