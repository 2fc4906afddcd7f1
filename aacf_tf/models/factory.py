"""The model of a recipe."""

from __future__ import annotations

import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones import build_backbone
from aacf_tf.backbones.batch_norm import freeze_batch_norm
from aacf_tf.backbones.two_stream import streams_of, two_stream
from aacf_tf.models.action_model import ActionModel
from aacf_tf.models.heads import make_head
from aacf_tf.models.streams import CHANNELS, STREAM_INPUTS
from aacf_tf.recipes import Recipe, Stage, plan_stage
from tfrecords.utils.errors import UsageError


def make_backbone(recipe: Recipe) -> keras.Model:
    """A new backbone of a recipe, for its modality.

    Raises:
        UsageError: it does not take that, or does not give one feature map.
    """
    options, channels = dict(recipe.backbone_options), CHANNELS[recipe.modality]
    if recipe.modality == "rgb":
        backbone = build_backbone(recipe.backbone, **options)
    elif recipe.modality == "flow":
        backbone = build_backbone(recipe.backbone, **{"channels": channels[0], **options})
    else:
        backbone = two_stream(recipe.backbone, **options)
    for network, depth in zip(streams_of(backbone).values(), channels):
        taken, given = network.input_shape, network.output_shape
        if len(taken) != 5 or taken[-1] not in (depth, None):
            raise UsageError(
                f"backbone_options: expected a backbone of {recipe.modality} clips "
                f"[B, T, H, W, {depth}], received one of {taken[-1]} channels."
            )
        if not isinstance(given, tuple) or len(given) != 5:
            raise UsageError(
                "backbone_options: expected a backbone that ends in one feature map "
                f"[B, t, h, w, D], received one that gives {given} (no include_top, no "
                "all_end_points)."
            )
    return backbone


def build_model(
    recipe: Recipe,
    classes: int,
    *,
    stage: Stage | None = None,
    backbone: keras.Model | None = None,
    steps: int = 0,
    negatives: bool = False,
    multi_label: bool = False,
    context_learns: bool = True,
) -> ActionModel:
    """The model of a recipe, with all its variables.

    Args:
        recipe: see `aacf_tf.recipes`.
        classes: number of real classes.
        stage: whose head and regularisation to take; None: the recipe's own head, its last stage.
        backbone: to go on with, such as one with trained weights; None: a new one of the recipe's
            kind.
        steps: of the stage, of which `pairs_first` is a share.
        negatives: whether the data have clips with no action: they are one more class.
        multi_label: see `ActionModel`; context_learns: see `FactorizationHead`.
    """
    stage = stage or recipe.stages[-1]
    plan = plan_stage(recipe, stage, steps)
    if backbone is None:
        backbone = make_backbone(recipe)
    backbone.trainable = stage.backbone_rate > 0
    if stage.frozen_batch_norm:
        freeze_batch_norm(backbone)
    head = make_head(
        plan.head,
        classes,
        hidden=recipe.hidden or min(256, max(32, backbone.output_shape[-1] // 3)),
        dropout=stage.dropout,
        seed=recipe.seed,
        negatives=negatives,
        multi_label=multi_label,
        context_learns=context_learns,
    )
    model = ActionModel(
        backbone,
        head,
        loss_weights=plan.loss_weights,
        pairs_first_steps=plan.pairs_first_steps,
        weight_decay=plan.coupled_decay,
        multi_label=multi_label,
        time_spread_floor=recipe.loss.time_spread_floor,
        label_smoothing=stage.label_smoothing,
    )
    # The head's variables come with its first call; 32 pixels are enough for every backbone.
    shape = [side or least for side, least in zip(model.geometry.input_shape, (1, 8, 32, 32))]
    names = STREAM_INPUTS[recipe.modality]
    model({n: tf.zeros([*shape, c]) for n, c in zip(names, CHANNELS[recipe.modality])})
    return model
