"""Checks that a recipe can be run."""

from __future__ import annotations

import re
from pathlib import Path

from aacf_tf.backbones.catalog import EXPECTED, has_fixed_size, is_backbone, sees_images
from aacf_tf.recipes.fields import Bounds, check_bounds, check_fields
from aacf_tf.recipes.options import HEAD_TERMS, REMEDY_TERMS, Recipe
from tfrecords.utils.errors import UsageError

_MOST_PIXELS = 1 << 28  # of a clip: 800 MB of bytes
_WIDEST = 1 << 14  # channels
_FOLDER = re.compile(r"\w[\w.-]*")


def check(recipe: Recipe) -> None:
    """Checks a recipe before anything is started.

    Raises:
        UsageError: A value cannot be used; names the field, what was expected and received.
    """
    data = recipe.data
    names = [stage.name for stage in recipe.stages]
    if not names or len({*names}) < len(names) or not all(map(_FOLDER.fullmatch, names)):
        raise UsageError(
            "stages: expected one or more, each with a name of its own that a folder can have, "
            f"received {', '.join(map(repr, names)) or 'none'}."
        )
    check_fields(recipe)
    if Path(recipe.name).name != recipe.name:
        raise UsageError(f"name: expected a name that a folder can have, received {recipe.name!r}.")
    if data.frames * data.height * data.width > _MOST_PIXELS:
        raise UsageError(
            f"data: expected clips of at most {_MOST_PIXELS:,} pixels, received {data.frames} "
            f"frames of {data.height}x{data.width}."
        )
    for option, value in {**recipe.backbone_options, "hidden": recipe.hidden}.items():
        if isinstance(value, (int, float)) and abs(value) > _WIDEST:
            raise UsageError(f"{option}: expected at most {_WIDEST}, received {value!r}.")
    for index, stage in enumerate(recipe.stages):
        for number, (share, factor) in enumerate(stage.milestones):
            name = f"stages.{index}.milestones.{number}"
            check_bounds(f"{name}.0", share, Bounds(0, 1))
            check_bounds(f"{name}.1", factor, Bounds(0))
    _check_backbone(recipe)
    factors = "difference" in HEAD_TERMS[recipe.head]
    apart = recipe.head == "aacf" and recipe.loss.form == "apart"
    if recipe.score == "average" and factors and not apart:
        raise UsageError(
            "score: expected action, context or combined without the average expert of head=aacf "
            f"with loss.form=apart, received average with {recipe.head} and {recipe.loss.form}."
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
    remedies = {
        "data.fame": (data.fame, "moves"),
        "data.stillmix": (data.stillmix, ""),
        "loss.background_erasing": (recipe.loss.background_erasing, "stands still"),
        "loss.human_mask": (recipe.loss.human_mask, ""),
    }
    for name, (value, motion) in remedies.items():
        if value and recipe.modality != "rgb":
            raise UsageError(
                f"{name}: expected 0 with modality={recipe.modality}, since it changes frames and "
                f"not their flow, received {value:g}."
            )
        if value and motion and data.frames == 1:
            raise UsageError(
                f"{name}: expected 0 where a clip is one frame (data.frames=1), in which nothing "
                f"{motion} by itself, received {value:g}."
            )
    if data.map_crop and not data.views:
        raise UsageError(
            "data.map_crop: expected 0 where no features are cached (data.views=0), "
            f"received {data.map_crop}."
        )
    if data.views and any(s.backbone_rate == 0 and s.head is None for s in recipe.stages):
        changes = {f"data.{name}": getattr(data, name) for name in ("swap", "fame", "stillmix")}
        changes.update({f"loss.{name}": getattr(recipe.loss, name) for name in REMEDY_TERMS})
        for name in (name for name, value in changes.items() if value):
            what = "pairs" if name == "data.swap" else "clips"
            raise UsageError(
                f"data.views: expected 0 with {name}, whose {what} cannot be cached, "
                f"received {data.views}; set one of them to 0."
            )
        if data.frozen_conjugates and data.views == 1:
            raise UsageError(
                "data.views: expected 2 or more with data.frozen_conjugates, of which the first "
                "view has none, received 1."
            )
    heads = ["none", *(stage.head or "recipe" for stage in recipe.stages)]
    for index, stage in enumerate(recipe.stages):
        before, head = heads[index : index + 2]
        if stage.keep_head and head != before:
            raise UsageError(
                f"stages.{index}.keep_head: expected the stage before it to train the head "
                f"{head!r}, received {before!r}."
            )


def _check_backbone(recipe: Recipe) -> None:
    """Checks that there is such a backbone, and that it takes the recipe's clips."""
    name, data = recipe.backbone, recipe.data
    if not is_backbone(name):
        raise UsageError(f"backbone: expected one of {EXPECTED}, received {name!r}.")
    if recipe.modality != "rgb" and (sees_images(name) or has_fixed_size(name)):
        reason = "is of photographs" if sees_images(name) else "takes frames"
        raise UsageError(
            f"modality: expected rgb for the backbone {name}, which {reason}, "
            f"received {recipe.modality}."
        )
    if has_fixed_size(name) and (data.crop < 1 or data.resize == "whole"):
        field, wanted = ("crop", "1") if data.crop < 1 else ("resize", "stretch or short_side")
        raise UsageError(
            f"data.{field}: expected {wanted} for the backbone {name}, whose clips are all of one "
            f"size, received {getattr(data, field)}."
        )
