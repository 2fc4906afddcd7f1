"""Builds the model of a recipe."""

from __future__ import annotations

import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones import build_backbone
from aacf_tf.backbones.batch_norm import freeze_batch_norm
from aacf_tf.backbones.catalog import has_fixed_size
from aacf_tf.backbones.receptive_field import receptive_field
from aacf_tf.backbones.two_stream import streams_of, two_stream
from aacf_tf.models.action_model import ActionModel
from aacf_tf.models.heads import make_head
from aacf_tf.recipes import Recipe, Stage, plan_stage
from tfrecords.reading.preprocess import crop_size
from tfrecords.records.names import FLOW, MODALITIES
from tfrecords.utils.errors import UsageError


def make_backbone(recipe: Recipe) -> keras.Model:
    """Builds a recipe's backbone for its modality.

    Raises:
        UsageError: The backbone does not take the modality or the size of the clips, or does not
            return one feature map.
    """
    data = recipe.data
    options, streams = dict(recipe.backbone_options), MODALITIES[recipe.modality].streams
    if len(streams) > 1:
        backbone = two_stream(recipe.backbone, **options)
    else:
        if streams == (FLOW,):
            options.setdefault("channels", FLOW.channels)
        if has_fixed_size(recipe.backbone):
            options.setdefault("input_shape", (data.frames, data.height, data.width, 3))
        backbone = build_backbone(recipe.backbone, **options)
    for network, stream in zip(streams_of(backbone).values(), streams):
        input_shape, output_shape = network.input_shape, network.output_shape
        if len(input_shape) != 5 or input_shape[-1] not in (stream.channels, None):
            raise UsageError(
                f"backbone_options: expected a backbone of {recipe.modality} clips "
                f"[B, T, H, W, {stream.channels}], received one of {input_shape[-1]} channels."
            )
        if not isinstance(output_shape, tuple) or len(output_shape) != 5:
            raise UsageError(
                "backbone_options: expected a backbone that ends in one feature map "
                f"[B, t, h, w, D], received one that gives {output_shape} (no include_top, no "
                "all_end_points)."
            )
        size = crop_size((data.height, data.width), data.crop)
        if any(axis.size < 1 for axis in receptive_field(network, (data.frames, *size))):
            raise UsageError(
                f"data.height, data.width: expected clips of a size that leaves {recipe.backbone} "
                f"a cell, received {size[0]} x {size[1]} pixels in training."
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
    """Builds the model of a recipe, with all its variables.

    Args:
        recipe: Recipe, see `aacf_tf.recipes`.
        classes: Number of real classes.
        stage: Stage whose head and regularization to use; None: the last one.
        backbone: Backbone to use, such as a trained one; None: a new one of the recipe's kind.
        steps: Training steps of the stage, of which `pairs_first` is a share.
        negatives: Whether the data contain clips with no action, which form one more class.
        multi_label: See `ActionModel`.
        context_learns: See `FactorizationHead`.
    """
    stage = stage or recipe.stages[-1]
    plan = plan_stage(recipe, stage, steps)
    network = backbone or make_backbone(recipe)
    network.trainable = stage.backbone_rate > 0
    if stage.frozen_batch_norm:
        freeze_batch_norm(network)
    head = make_head(
        plan.head,
        classes,
        hidden=recipe.hidden or min(256, max(32, network.output_shape[-1] // 3)),
        maps=recipe.action_maps,
        dropout=stage.dropout,
        seed=recipe.seed,
        negatives=negatives,
        multi_label=multi_label,
        context_learns=context_learns,
        pooled_length=recipe.pooled_length,
        apart={
            "branch_gradient": recipe.loss.branch_gradient,
            "context_weight": recipe.context_weight,
            "average_weight": recipe.average_weight,
        }
        if recipe.loss.form == "apart"
        else None,
    )
    model = ActionModel(
        network,
        head,
        loss_weights=plan.loss_weights,
        pairs_first_steps=plan.pairs_first_steps,
        weight_decay=plan.coupled_decay,
        multi_label=multi_label,
        time_spread_floor=recipe.loss.time_spread_floor,
        label_smoothing=stage.label_smoothing,
    )
    # The first call creates the head's variables; 32 pixels are enough for every backbone of ours.
    least = (1, 8, 32, 32)
    if recipe.backbone.startswith("keras:"):
        least = (1, 1, *crop_size((recipe.data.height, recipe.data.width), recipe.data.crop))
    shape = [side or free for side, free in zip(model.geometry.input_shape, least)]
    inputs = MODALITIES[recipe.modality].inputs
    model({name: tf.zeros([*shape, stream.channels]) for name, stream in inputs.items()})
    return model
