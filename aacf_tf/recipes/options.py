"""What a recipe is made of: its fields."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Dict, Literal, Optional, Tuple, get_args

from aacf_tf.backbones import BACKBONES
from aacf_tf.recipes.fields import Bounds

# Loss terms (`aacf_tf.models.losses`) of the heads (`aacf_tf.models.heads`).
_LINEAR_TERMS = ("combined", "difference", "context", "agreement", "disagreement")
FACTOR_TERMS = (*_LINEAR_TERMS, "presence", "time_spread")
HEAD_TERMS = {
    "aacf": FACTOR_TERMS,
    "average": ("classification",),
    "average_background": ("classification", "background"),
    "average_uniform": ("classification", "uniform"),
    "attention": ("classification",),
    "nonlocal": ("classification",),
    "linear_factors": _LINEAR_TERMS,
}
HEADS = tuple(HEAD_TERMS)
# Terms that need a conjugate. (`presence` uses one if there is one.)
PAIR_TERMS = {"difference", "context", "agreement", "disagreement", "background", "uniform"}
PAIR_HEADS = tuple(head for head, terms in HEAD_TERMS.items() if PAIR_TERMS & {*terms})
# Additional terms of swapped pairs, for heads with factors.
SWAP_TERMS = ("swap_action", "swap_uniform")
Optimizer = Literal["adam", "adamw", "sgd", "sgdw"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Strategy = Literal["auto", "one_device", "mirrored", "multi_worker"]
Modality = Literal["rgb", "flow", "two_stream"]
OPTIMIZERS: Tuple[str, ...] = get_args(Optimizer)
PRECISIONS: Tuple[str, ...] = get_args(Precision)
STRATEGIES: Tuple[str, ...] = get_args(Strategy)
MODALITIES: Tuple[str, ...] = get_args(Modality)

Count = Annotated[int, Bounds(1)]
Pixels = Annotated[int, Bounds(8)]
NonNegative = Annotated[float, Bounds(0)]
Share = Annotated[float, Bounds(0, 1)]


@dataclass(frozen=True)
class DataOptions:
    """How clips are sampled and sized.

    Attributes:
        frames: T, frames a clip.
        height, width: pixels after resizing.
        fps: frames a second sampled; None takes every frame of the record.
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
            what tests see, view v >= 1 what training draws in epoch v; None: no cache.
        map_crop: side, in cells, of the random crop of a cached feature map that training sees;
            None: the whole map.
        class_weights: `balanced`: sample weights by the inverse of the classes' frequencies in
            `train`, their mean over the clips 1; None: all alike.
        test_clips, test_crops: views of a video whose scores evaluation averages: so many stretches
            of time, evenly spread, each in so many crops of training's size: 1 is the whole frame,
            3 lie from end to end, 5 in the corners and the centre.
    """

    frames: Count = 16
    height: Pixels = 112
    width: Pixels = 112
    fps: Annotated[Optional[float], Bounds(0)] = None
    resize: Literal["stretch", "short_side", "whole"] = "stretch"
    crop: Annotated[float, Bounds(0.01, 1)] = 1.0
    flip: bool = True
    frozen_conjugates: Share = 0.0
    swap: Share = 0.0
    jitter: Annotated[float, Bounds(0, 0.99)] = 0.0
    cache: bool = False
    shard: Literal["record", "file"] = "record"
    views: Annotated[Optional[int], Bounds(0)] = None
    map_crop: Annotated[Optional[int], Bounds(0)] = None
    class_weights: Optional[Literal["balanced"]] = None
    test_clips: Count = 1
    test_crops: int = 1


@dataclass(frozen=True)
class LossOptions:
    """Weight of each term of the loss (`aacf_tf.models.losses`); 0 leaves it out.

    `combined` to `time_spread` are the factorization's, `swap_action` and `swap_uniform` what it
    has in addition for swapped pairs (`data.swap`), `background` and `uniform` the conjugates'
    terms of the baselines of that name. `time_spread_floor` is the entropy over time, as a share
    of log T, below which `time_spread` acts.
    `negative` is the sample weight of a clip with no action.
    """

    combined: NonNegative = 1.0
    difference: NonNegative = 1.0
    context: NonNegative = 0.5
    agreement: NonNegative = 1.0
    disagreement: NonNegative = 0.5
    presence: NonNegative = 0.25
    time_spread: NonNegative = 1.0
    swap_action: NonNegative = 0.5
    swap_uniform: NonNegative = 1.0
    background: NonNegative = 1.0
    uniform: NonNegative = 1.0
    time_spread_floor: NonNegative = 0.8
    negative: NonNegative = 0.01

    def weights(self) -> dict[str, float]:
        """Name of a term -> its weight."""
        names = {item.name for item in fields(self)} - {"time_spread_floor", "negative"}
        return {name: getattr(self, name) for name in sorted(names)}


@dataclass(frozen=True)
class Stage:
    """One stretch of training; the backbone goes on from stage to stage, a new head starts anew.

    Attributes:
        name: of its folder under `checkpoints/` and `logs/`.
        head: one of HEADS; None: the recipe's.
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
    head: Annotated[Optional[str], HEADS] = None
    keep_head: bool = False
    epochs: Count = 10
    batch_size: Count = 16
    optimizer: Optimizer = "adam"
    learning_rate: NonNegative = 1e-3
    warmup: NonNegative = 0.1
    milestones: Tuple[Tuple[float, float], ...] = ()
    backbone_rate: Share = 1.0
    backbone_start: Share = 0.0
    frozen_batch_norm: bool = False
    weight_decay: NonNegative = 1e-4
    label_smoothing: Share = 0.0
    dropout: Share = 0.0
    pairs_first: Share = 0.0
    patience: Annotated[int, Bounds(0)] = 0


@dataclass(frozen=True)
class Recipe:
    """A whole run.

    Attributes:
        name: of the recipe.
        data, loss, stages: see there.
        backbone: one of BACKBONES; backbone_options: keyword arguments of its function.
        modality: what the backbone sees: `rgb`, `flow`, or both in `two_stream`.
        weights: file of published weights, or checkpoint of another run, that the backbone begins
            with (`aacf_tf.weights.loading`); empty: random weights.
        synchronized_batch_norm: batch norm's statistics over all replicas.
        head: one of HEADS.
        hidden: width of the attention's hidden layer; None: a third of the feature map's depth,
            within 32..256 (32 for D = 64, 64 for 192, 256 for 1024).
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
    stages: Tuple[Stage, ...] = (Stage("main"),)
    backbone: Annotated[str, tuple(BACKBONES)] = "small"
    backbone_options: Dict[str, Any] = field(default_factory=dict)
    modality: Modality = "rgb"
    weights: str = ""
    synchronized_batch_norm: bool = False
    head: Annotated[str, HEADS] = "aacf"
    hidden: Annotated[Optional[int], Bounds(0)] = None
    score: Literal["action", "combined"] = "action"
    baseline: Literal["alone", "stage", "none"] = "none"
    mask_threshold: Share = 0.25
    seed: Annotated[int, Bounds(0, 2**31 - 1)] = 0
    precision: Precision = "auto"
    strategy: Strategy = "auto"
    export_precision: Literal["float32", "mixed_bfloat16"] = "float32"
    export_winograd: bool = False
    keep: Count = 2
    save_minutes: NonNegative = 10.0
