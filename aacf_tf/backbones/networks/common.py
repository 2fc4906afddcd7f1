"""Shared parts of the published backbones: pixel scaling and end points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Optional

import tensorflow as tf
from tensorflow import keras

# Mean and deviation of each colour (RGB), in pixels 0..255.
SCALINGS = {
    # To [-1, 1].
    "inception": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    # As torchvision's ImageNet weights were trained.
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    # EfficientNet-Lite, near [-1, 1].
    "efficientnet_lite": ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
    # Hara's `mean_dataset=kinetics`, his files of 2020.
    "kinetics": ((110.7975, 103.3005, 96.2625), (70.584, 69.1815, 69.7935)),
    # Hara's `mean_dataset=activitynet` with `norm_value=1`, his files of 2017/18: mean only.
    "activitynet": ((114.7748, 107.7354, 99.4750), (1.0, 1.0, 1.0)),
}


def scaled_pixels(
    scaling: str, channels: int, sides: tuple[Optional[int], ...] = (None, None, None)
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the input tensor of a backbone, and the same scaled, in float32.

    Args:
        scaling: Name of the scaling, one of `SCALINGS`.
        channels: Number of channels: 3, or 2 for optical flow, scaled like the first two colours.
        sides: Frames, height and width, by default free.

    Raises:
        ValueError: If the scaling is unknown.
    """
    if scaling not in SCALINGS:
        raise ValueError(
            f"Expected scaling to be one of {', '.join(SCALINGS)}. Received {scaling!r}."
        )
    means, deviations = (values[:channels] for values in SCALINGS[scaling])
    pixels = keras.Input((*sides, channels), name="pixels")
    # In float32, since rounding the factors to bfloat16 alone would cost 0.4 %.
    scale = keras.layers.Rescaling(
        [1 / deviation for deviation in deviations],
        offset=[-mean / deviation for mean, deviation in zip(means, deviations)],
        dtype="float32",
        name="scale",
    )
    return pixels, scale(pixels)


def chosen_end_point(
    end_point: Optional[str], end_points: Sequence[str], include_top: bool, top: int = 1
) -> str:
    """Returns the end point at which a backbone stops.

    Args:
        end_point: End point given by the user; None: the last feature map, or with `include_top`
            the first end point of the top.
        end_points: All end points, in order.
        include_top: Whether to include the top.
        top: Number of end points, the last ones, that belong to the top; 1 by default.

    Raises:
        ValueError: If `end_point` is unknown, or lies below the top that `include_top` asks for.
    """
    if end_point is None:
        return end_points[-top if include_top else -top - 1]
    if end_point not in end_points:
        raise ValueError(
            f"Expected end_point to be one of {tuple(end_points)}. Received {end_point!r}."
        )
    if include_top and end_point not in end_points[-top:]:
        raise ValueError(
            "Expected no end_point below the top where include_top is True. "
            f"Received end_point={end_point!r}."
        )
    return end_point


def model_up_to(
    end_point: str,
    pixels: tf.Tensor,
    layers: Iterable[tuple[str, tf.Tensor]],
    all_end_points: bool,
    name: str,
) -> keras.Model:
    """Builds the model from the pixels to an end point.

    Args:
        end_point: Name of the last end point.
        pixels: Input tensor.
        layers: Names and tensors of the end points. They are built on iteration, so layers behind
            `end_point` are never created.
        all_end_points: Whether to return a dict of all end points up to the last, by name.
        name: Name of the model.
    """
    outputs = {}
    for reached, x in layers:
        outputs[reached] = x
        if reached == end_point:
            break
    return keras.Model(pixels, outputs if all_end_points else x, name=name)
