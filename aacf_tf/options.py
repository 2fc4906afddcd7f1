"""What a recipe is made of: its fields, their checks, overriding them, and their plain form."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
from dataclasses import dataclass, field, fields
from typing import Any, Mapping

from aacf_tf.backbones import BACKBONES
from tfrecords.utils.errors import UsageError

# See `aacf_tf.heads`.
HEADS = (
    "aacf",
    "average",
    "average_background",
    "average_uniform",
    "attention",
    "nonlocal",
    "linear_factors",
)
# Trained on conjugates.
PAIR_HEADS = ("aacf", "linear_factors", "average_background", "average_uniform")
# The terms of the factorization's loss, see `aacf_tf.losses`.
FACTOR_TERMS = (
    "combined",
    "difference",
    "context",
    "agreement",
    "disagreement",
    "presence",
    "time_spread",
)
OPTIMIZERS = ("adam", "adamw", "sgd", "sgdw")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
EXPORT_PRECISIONS = ("float32", "mixed_bfloat16")
STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")
MODALITIES = ("rgb", "flow", "two_stream")
_FOLDER = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class DataOptions:
    """How clips are sampled and sized.

    Attributes:
        frames: T, frames a clip.
        height, width: pixels after resizing.
        fps: frames a second sampled; 0 takes every frame of the record.
        resize: `stretch` (aspect ratio ignored), `short_side` (scaled to cover, centre crop) or
            `whole` (scaled to cover: training cuts its window out of the whole frame, tests see
            all of it, one clip at a time).
        crop: share of height and width that training crops keep, to the nearest multiple of 8
            pixels; 1 crops nothing. Tests see the whole frame.
        flip: mirror half of the training pairs.
        frozen_conjugates: share of training pairs whose conjugate is replaced by the clip's first
            frame repeated: the person stays, the motion goes.
        swap: share of training pairs whose actor is pasted on the conjugate of another clip, which
            becomes the conjugate: the scene then says nothing of the action. Needs masks in
            `train`; acts in stages that train the recipe's own head.
        jitter: how far training changes the light and the colours of a pair: brightness by up to
            this share of white, contrast and saturation by factors within 1 +- it; 0: not at all.
        cache: keep the decoded, resized training frames in memory (demo 0.3 GB, J-HMDB 1 GB).
        shard: how several workers share the training data: by `record` of every batch, which then
            is that of one machine, though each worker reads all files; or by `file`, each reading
            its own, where there are as many files as workers.
        views: how many views of a clip a frozen backbone's features are cached in: the first is
            what tests see, view v >= 1 what training draws in epoch v; 0: no cache.
        map_crop: side, in cells, of the random crop of a cached feature map that training sees; 0:
            the whole map.
        class_weights: `balanced`: sample weights by the inverse of the classes' frequencies in
            `train`, their mean over the clips 1; empty: all alike.
        test_clips, test_crops: views of a video whose scores evaluation averages: so many stretches
            of time, evenly spread, each in so many crops of training's size: 1 is the whole frame,
            3 lie from end to end, 5 in the corners and the centre.
    """

    frames: int = 16
    height: int = 112
    width: int = 112
    fps: float = 0.0
    resize: str = "stretch"
    crop: float = 1.0
    flip: bool = True
    frozen_conjugates: float = 0.0
    swap: float = 0.0
    jitter: float = 0.0
    cache: bool = False
    shard: str = "record"
    views: int = 0
    map_crop: int = 0
    class_weights: str = ""
    test_clips: int = 1
    test_crops: int = 1


@dataclass(frozen=True)
class LossOptions:
    """Weight of each term of the loss (`aacf_tf.losses`); 0 leaves it out.

    `combined` to `time_spread` are the factorization's, `swap_action` and `swap_uniform` what it
    has in addition for swapped pairs (`data.swap`), `background` and `uniform` the conjugates'
    terms of the baselines of that name. `time_spread_floor` is the entropy over time, as a share
    of log T, below which `time_spread` acts.
    `negative` is the sample weight of a clip with no action.
    """

    combined: float = 1.0
    difference: float = 1.0
    context: float = 0.5
    agreement: float = 1.0
    disagreement: float = 0.5
    presence: float = 0.25
    time_spread: float = 1.0
    swap_action: float = 0.5
    swap_uniform: float = 1.0
    background: float = 1.0
    uniform: float = 1.0
    time_spread_floor: float = 0.8
    negative: float = 0.01

    def weights(self) -> dict[str, float]:
        """Name of a term -> its weight."""
        names = {item.name for item in fields(self)} - {"time_spread_floor", "negative"}
        return {name: getattr(self, name) for name in sorted(names)}


@dataclass(frozen=True)
class Stage:
    """One stretch of training; the backbone goes on from stage to stage, a new head starts anew.

    Attributes:
        name: of its folder under `checkpoints/` and `logs/`.
        head: one of HEADS, or `recipe` for the recipe's own.
        epochs, batch_size: the batch is the global one, in pairs.
        keep_head: go on with the previous stage's head, which must be of the same kind.
        optimizer: `adam` or `sgd` (momentum 0.9), with which `weight_decay` is the coupled L2 of
            the optimisers of the paper's time; `adamw` or `sgdw`: the same, decay decoupled.
        learning_rate: its peak: linear warm-up, then cosine to zero, or `milestones`.
        warmup: steps, or below 1 a share of all steps.
        milestones: pairs of (share of the steps, factor): from there on the rate is that factor of
            its peak, `((0, 1),)` a constant rate; none: cosine.
        backbone_rate: the backbone's learning rate as a factor of the head's; 0 freezes it, batch
            norm in inference mode. The decay of `adamw` and `sgdw` keeps the head's rate.
        backbone_start: share of the steps before which the backbone's weights stand still; its
            batch norm does not.
        frozen_batch_norm: while the backbone's convolutions learn, its batch norms keep their
            statistics and offsets, as the paper has it on HACS.
        weight_decay: on kernels only.
        label_smoothing, dropout: the usual; dropout before the classifiers.
        pairs_first: share of the steps, from the start, in which only `difference` and `presence`
            act, for a head that has them. From scratch one phase does not start.
        patience: epochs without a better validation after which the stage ends; 0: never.
    """

    name: str
    head: str = "recipe"
    keep_head: bool = False
    epochs: int = 10
    batch_size: int = 16
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    warmup: float = 0.1
    milestones: tuple[tuple[float, float], ...] = ()
    backbone_rate: float = 1.0
    backbone_start: float = 0.0
    frozen_batch_norm: bool = False
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    dropout: float = 0.0
    pairs_first: float = 0.0
    patience: int = 0


@dataclass(frozen=True)
class Recipe:
    """A whole run.

    Attributes:
        name: of the recipe.
        data, loss, stages: see there.
        backbone: one of BACKBONES; backbone_options: keyword arguments of its function.
        modality: what the backbone sees: `rgb`, `flow`, or both in `two_stream`.
        weights: file of published weights, or checkpoint of another run, that the backbone begins
            with (`aacf_tf.backbones.weights`); empty: random weights.
        synchronized_batch_norm: batch norm's statistics over all replicas.
        head: one of HEADS.
        hidden: width of the attention's hidden layer; 0: a third of the feature map's depth, within
            32..256 (32 for D = 64, 64 for 192, 256 for 1024).
        score: which of `action` and `combined` the served model's `probabilities` are.
        baseline: train average pooling beside the head, under `baselines/average`: `alone` from
            scratch by the same stages, `stage` by evaluating the stage that trains it, `none`.
        mask_threshold: share of a cell's stride box that a mask must exceed for the cell to be the
            actor's.
        seed: of the weights and of all that is random in the data.
        precision, strategy: see `train_main.py --help`.
        export_precision: Of the exported backbone: `float32`, or `mixed_bfloat16`, twice as fast on
            processors with instructions for it. Everything behind the backbone stays in float32.
        export_winograd: Export 3x3x3 convolutions by Winograd's method if that is faster here
            (`aacf_tf.backbones.winograd`).
        keep: checkpoints kept besides the best.
        save_minutes: a checkpoint inside an epoch after so many minutes; 0: at its end only.
    """

    name: str
    data: DataOptions = field(default_factory=DataOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    stages: tuple[Stage, ...] = (Stage("main"),)
    backbone: str = "small"
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    modality: str = "rgb"
    weights: str = ""
    synchronized_batch_norm: bool = False
    head: str = "aacf"
    hidden: int = 0
    score: str = "action"
    baseline: str = "none"
    mask_threshold: float = 0.25
    seed: int = 0
    precision: str = "auto"
    strategy: str = "auto"
    export_precision: str = "float32"
    export_winograd: bool = False
    keep: int = 2
    save_minutes: float = 10.0


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
    if recipe.modality != "rgb" and recipe.backbone == "densenet161":
        raise UsageError(
            "modality: expected rgb for the backbone densenet161, which is of photographs, "
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


def override(recipe: Recipe, path: str, value: Any) -> Recipe:
    """A copy of the recipe with one field set.

    Args:
        path: dotted name, such as `loss.context`, `data.fps`, `stages.0.epochs`.
        value: a string is read as JSON where it can be (`0.5`, `true`, `{"width": 48}`).

    Raises:
        UsageError: no such field, or a value of another type.
    """
    if isinstance(value, str):
        # What is not JSON is a plain word.
        with contextlib.suppress(json.JSONDecodeError):
            value = json.loads(value)
    if path == "backbone" and value != recipe.backbone:
        # The options belong to the backbone that the recipe named.
        recipe = dataclasses.replace(recipe, backbone_options={})
    return _replace(recipe, path.split("."), value, path)


def _replace(node: Any, keys: list[str], value: Any, path: str) -> Any:
    if not keys:
        return _convert(node, value, f"--set {path}")
    key, rest = keys[0], keys[1:]
    if isinstance(node, tuple):
        if not key.isdigit() or int(key) >= len(node):
            raise UsageError(f"--set {path}: expected a number 0..{len(node) - 1}, received {key}.")
        place = int(key)
        changed = _replace(node[place], rest, value, path)
        return (*node[:place], changed, *node[place + 1 :])
    if isinstance(node, Mapping):
        if rest:
            raise UsageError(
                f"--set {path}: expected no field below {key!r}, received {rest[0]!r}."
            )
        return {**node, key: value}
    names = [item.name for item in fields(node)] if dataclasses.is_dataclass(node) else []
    if key not in names:
        raise UsageError(
            f"--set {path}: expected one of {', '.join(names) or 'no further field'}, "
            f"received {key!r}."
        )
    return dataclasses.replace(node, **{key: _replace(getattr(node, key), rest, value, path)})


def _convert(old: Any, value: Any, place: str) -> Any:
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if dataclasses.is_dataclass(old[0] if isinstance(old, tuple) and old else old):
        raise UsageError(f"{place}: expected one field of it at a time, received {value!r}.")
    if isinstance(old, tuple):  # the milestones
        pairs = value if isinstance(value, (list, tuple)) else [value]
        numbers = [pair for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2]
        if len(numbers) < len(pairs) or not all(
            type(number) in (int, float) for pair in numbers for number in pair
        ):
            raise UsageError(f"{place}: expected pairs such as [[0.5, 0.1]], received {value!r}.")
        return tuple((float(share), float(factor)) for share, factor in numbers)
    if type(value) is not type(old):
        raise UsageError(
            f"{place}: expected a value of type {type(old).__name__}, received {value!r}."
        )
    return value


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data, for `config.json`."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def from_dict(content: Mapping[str, Any]) -> Recipe:
    """The inverse of `to_dict`; fields that are not there have their defaults.

    Raises:
        UsageError: a field that there is not, or a value of another type, as a file that was
            edited may have them.
        KeyError: there is no `name`, `data`, `loss` or `stages`.
    """
    parts = {
        "data": DataOptions(**_fields(DataOptions(), content["data"], "data.")),
        "loss": LossOptions(**_fields(LossOptions(), content["loss"], "loss.")),
        "stages": tuple(
            Stage(**_fields(Stage("main"), stage, f"stages.{place}."))
            for place, stage in enumerate(content["stages"])
        ),
    }
    plain = {name: value for name, value in content.items() if name not in parts}
    return Recipe(**_fields(Recipe(content["name"]), plain), **parts)


def _fields(defaults: Any, content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of plain data, each of the type that it has in `defaults`."""
    names = [item.name for item in fields(defaults)]
    for name in content:
        if name not in names:
            raise UsageError(
                f"{prefix}{name}: expected one of {', '.join(names)}, received {name!r}."
            )
    return {
        name: _convert(getattr(defaults, name), value, prefix + name)
        for name, value in content.items()
    }
