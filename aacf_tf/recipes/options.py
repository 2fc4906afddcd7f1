"""Defines the fields of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Dict, Literal, Optional, Tuple, get_args

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
# Additional terms of every head, each of a view of the clips that reading then adds.
REMEDY_TERMS = ("background_erasing", "human_mask")
# Terms of the head `aacf` in the loss form `apart`: the branch's, then the average expert's.
_BRANCH_TERMS = (
    "action",
    "difference",
    "context",
    "uniform",
    "agreement",
    "disagreement",
    "presence",
)
APART_TERMS = (*_BRANCH_TERMS, "average", "average_swap", "average_uniform")
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
        frames: Frames per clip, T.
        height, width: Pixels after resizing.
        fps: Sampled frames per second; None: every frame of the record.
        resize: `stretch` (ignores the aspect ratio), `short_side` (scales to cover, center crop)
            or `whole` (scales to cover: training cuts its window out of the whole frame, tests
            see all of it, one clip at a time).
        crop: Share of height and width that training crops keep, to the nearest multiple of 8
            pixels; 1: no crop. Tests see the whole frame.
        flip: Whether to mirror half of the training pairs.
        frozen_conjugates: Share of training pairs whose conjugate is replaced by the clip's first
            frame repeated: the person stays, the motion goes.
        swap: Share of training pairs whose actor is pasted into the conjugate of another clip,
            which becomes the conjugate: the scene then says nothing about the action. Needs masks
            in `train`; acts in stages that train the recipe's own head.
        fame: Share of training clips whose moving foreground is pasted on another clip (FAME;
            `tfrecords.reading.remedies`). It, `stillmix` and their like in `LossOptions` act in
            stages that train the recipe's own head.
        stillmix: Share of training clips half mixed with a still frame that a network of still
            frames, trained first, finds telling (StillMix).
        jitter: Strength of photometric augmentation in training: brightness changes by up to this
            share of white, contrast and saturation by factors within 1 +- it; 0: none.
        cache: Whether to keep the decoded, resized training frames in memory (demo 0.3 GB, J-HMDB
            1 GB).
        shard: How several workers share the training data: by `record` (batches equal those of one
            machine, but each worker reads all files) or by `file` (each reads its own; needs as
            many files as workers).
        views: Views per clip in which a frozen backbone's features are cached: the first is that
            of tests, view v >= 1 the one that training draws in epoch v; None: no cache.
        map_crop: Side, in cells, of the random crop of a cached feature map in training; None: the
            whole map.
        class_weights: `balanced`: sample weights inverse to the classes' frequencies in `train`,
            with mean 1 over the clips; None: equal weights.
        test_clips, test_crops: Views per video whose scores evaluation averages: number of evenly
            spread stretches of time, and of crops of training's size in each: 1 is the whole
            frame, 3 lie from end to end, 5 in the corners and the center.
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
    fame: Share = 0.0
    stillmix: Share = 0.0
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
    """Weight of each loss term (`aacf_tf.models.losses`); 0 leaves it out.

    `combined` to `time_spread` belong to the factorization, `swap_action` and `swap_uniform` to its
    swapped pairs (`data.swap`), `background` and `uniform` to the baselines of that name. The form
    `apart` has `action` in place of `combined` and of these, `uniform` for the action score of
    conjugates, and `average` and `average_uniform` for the average expert; no `time_spread`.
    `background_erasing` and `human_mask` are remedies for every head (REMEDY_TERMS).

    Attributes:
        form: Form of the loss of the head `aacf`: `scratch`, in which the action expert learns what
            the context does not explain, or `apart`, for pretrained backbones: the experts learn
            apart, beside an average-pooled one. In `apart` every head standardizes the channels.
        average_on: Training of the average expert: `mix` (clips, swapped clips, and conjugates with
            a uniform target) or `clips` alone.
        branch_gradient: Share of its gradient that the branch of `apart` (all but the average
            expert) passes to the backbone.
        time_spread_floor: Entropy over time, as a share of log T, below which `time_spread` acts.
        negative: Sample weight of a clip with no action.
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
    action: NonNegative = 1.0
    average: NonNegative = 1.0
    average_uniform: NonNegative = 0.5
    background_erasing: NonNegative = 0.0
    human_mask: NonNegative = 0.0
    time_spread_floor: NonNegative = 0.8
    negative: NonNegative = 0.01
    form: Literal["scratch", "apart"] = "scratch"
    average_on: Literal["mix", "clips"] = "mix"
    branch_gradient: Share = 0.2

    def weights(self) -> dict[str, float]:
        """Returns the weight of each term by name."""
        settings = {"form", "average_on", "branch_gradient", "time_spread_floor", "negative"}
        names = {item.name for item in fields(self)} - settings
        return {name: getattr(self, name) for name in sorted(names)}


@dataclass(frozen=True)
class Stage:
    """One training stage.

    The backbone carries over between stages; each stage creates a new head unless `keep_head` is
    set.

    Attributes:
        name: Name of its folder under `checkpoints/` and `logs/`.
        head: One of HEADS; None: the recipe's.
        keep_head: Whether to keep the previous stage's head, which must be of the same kind.
        epochs: Number of epochs.
        batch_size: Pairs per step, over all devices.
        optimizer: `adam` or `sgd` (momentum 0.9), with coupled L2 `weight_decay` as in the
            optimizers of the paper's time; `adamw` or `sgdw`: the same with decoupled decay.
        learning_rate: Peak learning rate: linear warm-up, then a cosine to zero, or `milestones`.
        warmup: Steps of the warm-up, or below 1 a share of all steps.
        milestones: Pairs of (share of the steps, factor of the peak rate from there on);
            `((0, 1),)` is a constant rate; empty: a cosine.
        backbone_rate: Learning rate of the backbone as a factor of the head's; 0 freezes it, batch
            norm in inference mode. The decay of `adamw` and `sgdw` keeps the head's rate.
        backbone_start: Share of the steps before the backbone's weights are trained; its batch
            norm statistics always are.
        frozen_batch_norm: Whether the backbone's batch norms keep their statistics and offsets
            while its convolutions learn, as in the paper on HACS.
        weight_decay: Weight decay, on kernels only.
        label_smoothing, dropout: As usual; dropout acts before the classifiers.
        pairs_first: Share of the steps, from the start, in which only `difference` and `presence`
            act, for a head that has them; training from scratch in one phase does not start.
        patience: Epochs without an improvement on validation before early stopping; 0: none.
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
    """All settings of a run.

    Attributes:
        name: Name of the recipe.
        data, loss, stages: See the classes.
        backbone: Name of the backbone, see `aacf_tf.backbones.build_backbone`.
        backbone_options: Keyword arguments of the backbone's function.
        modality: Input of the backbone: `rgb`, `flow`, or both in `two_stream`.
        weights: File of published weights, or checkpoint of another run, to initialize the
            backbone (`aacf_tf.weights.loading`), or their name, `imagenet` or `kinetics`; empty:
            random weights.
        synchronized_batch_norm: Whether batch norm statistics cover all replicas.
        head: One of HEADS.
        hidden: Width of the attention's hidden layer; None: a third of the feature map's depth,
            within 32..256 (32 for D = 64, 64 for 192, 256 for 1024).
        action_maps: Number of action maps of the head `aacf`; the map that is served and drawn is
            that of their mean evidence.
        pooled_length: Length to which every head scales its pooled features before the
            classifiers; 0: as they are.
        score: Score of the served model's `probabilities`: `action`, `context`, `combined`, or of
            the loss form `apart` also `average`. A head that lacks it serves `combined`.
        context_weight: Weight w of the context in the score `combined` of the loss form `apart`,
            za + v zg + w zc; in the form `scratch` it is 1.
        average_weight: Weight v of the average expert there.
        baseline: How average pooling is trained for comparison, under `baselines/average`: `alone`
            (from scratch, by the same stages), `stage` (the stage that trains it is evaluated) or
            `none`.
        mask_threshold: Share of a cell's stride box that a mask must exceed for the cell to be the
            actor's.
        automatic_masks: Whether masks that a program found (`--people`) count as ground truth in
            evaluation, validation and report; they always serve `data.swap` and `loss.human_mask`.
        seed: Seed of the weights and of all randomness in the data.
        precision, strategy: See `train_main.py --help`.
        export_precision: Precision of the exported backbone: `float32`, or `mixed_bfloat16`, twice
            as fast on processors with instructions for it. The head stays in float32.
        export_winograd: Whether to export 3x3x3 convolutions by Winograd's method if that is faster
            here (`aacf_tf.backbones.winograd`).
        keep: Number of checkpoints kept besides the best.
        save_minutes: Minutes between checkpoints within an epoch; 0: only at its end.
    """

    name: str
    data: DataOptions = field(default_factory=DataOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    stages: Tuple[Stage, ...] = (Stage("main"),)
    backbone: str = "small"
    backbone_options: Dict[str, Any] = field(default_factory=dict)
    modality: Modality = "rgb"
    weights: str = ""
    synchronized_batch_norm: bool = False
    head: Annotated[str, HEADS] = "aacf"
    hidden: Annotated[Optional[int], Bounds(0)] = None
    action_maps: Count = 1
    pooled_length: NonNegative = 0.0
    score: Literal["action", "context", "combined", "average"] = "action"
    context_weight: NonNegative = 0.2
    average_weight: NonNegative = 0.0
    baseline: Literal["alone", "stage", "none"] = "none"
    mask_threshold: Share = 0.25
    automatic_masks: bool = False
    seed: Annotated[int, Bounds(0, 2**31 - 1)] = 0
    precision: Precision = "auto"
    strategy: Strategy = "auto"
    export_precision: Literal["float32", "mixed_bfloat16"] = "float32"
    export_winograd: bool = False
    keep: Count = 2
    save_minutes: NonNegative = 10.0
