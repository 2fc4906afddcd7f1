"""EfficientNet-Lite for images (Tan and Le, ICML 2019; Google's variant for mobile devices).

No squeeze and excitation, ReLU6 for swish, stem and last convolution of the same width for all
sizes. Every frame is processed as an image, unless `shift` mixes it with its neighbours. The stride
in space is 32. Sides of 32 k + 1 pixels are padded equally on both sides in all layers and put cell
i at pixel 32 i; even sides shift the map by up to half a cell.

Layers are named like the modules of `efficientnet_lite_pytorch`, without leading underscores. Two
packages contain its ImageNet weights (`aacf_tf.weights.packaged`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.networks.common import chosen_end_point, model_up_to, scaled_pixels
from keras_layers import FramesToImages, ImagesToFrames, TemporalShift

# Kernel, stride, filters and number of blocks of each stage, the last two for Lite0 and Lite2; all
# blocks but those of the first stage expand their channels by 6.
_STAGES = (
    (3, 1, (16, 16), (1, 1)),
    (3, 2, (24, 24), (2, 3)),
    (5, 2, (40, 48), (2, 3)),
    (3, 2, (80, 88), (3, 4)),
    (5, 1, (112, 120), (3, 4)),
    (5, 2, (192, 208), (4, 5)),
    (3, 1, (320, 352), (1, 1)),
)
_STEM, _HEAD, _EXPANSION = 32, 1280, 6
END_POINTS = ("stem", *(f"stage{n}" for n in range(1, len(_STAGES) + 1)), "head", "fc")


def efficientnet_lite0(
    end_point: Optional[str] = None,
    include_top: bool = False,
    classes: int = 1000,
    all_end_points: bool = False,
    shift: float = 0.0,
) -> keras.Model:
    """Builds EfficientNet-Lite0, trained at 224x224, from pixels up to one of its end points.

    ```
    stem          3x3, 32 channels, stride 2
    stage1..7     inverted residual blocks: 1x1 to six times the channels, depthwise 3x3 or 5x5,
                  1x1 to 16, 24, 40, 80, 112, 192 and 320 channels, strides 1, 2, 2, 2, 1, 2 and 1
    head          1x1 to 1280 channels
    fc            average of all positions, a dense layer
    ```

    Every convolution is followed by a batch norm and, but for a block's last one, by ReLU6.

    Args:
        end_point: Last end point, one of `END_POINTS`; by default `head`. `fc` includes the top.
        include_top: Short for `end_point="fc"`.
        classes: Number of classes of the top.
        all_end_points: Whether to return all end points up to the last, by name.
        shift: Share of the channels that a residual block takes from the frame before, and as many
            from the frame behind, 0 to 0.5 (`keras_layers.TemporalShift`; 0.125 is its authors'
            choice). With 0, the default, every frame is processed by itself.

    Returns:
        A model that takes pixels 0..255, uint8 or floating, `[B, T, H, W, 3]`, scales them to
        (pixel - 127) / 128, and returns the end point: features `[B, T, h, w, D]` in the compute
        dtype of the global policy, or logits float32 `[B, classes]`, the mean over the frames.
        With `all_end_points` a dict of them in order.

    Raises:
        ValueError: `end_point` is unknown, lies below the top that `include_top` asks for, or
            `shift` is out of its range.
    """
    return _build(0, end_point, include_top, classes, all_end_points, shift)


def efficientnet_lite2(
    end_point: Optional[str] = None,
    include_top: bool = False,
    classes: int = 1000,
    all_end_points: bool = False,
    shift: float = 0.0,
) -> keras.Model:
    """Builds EfficientNet-Lite2, trained at 260x260, from pixels up to one of its end points.

    Its stages end in 16, 24, 48, 88, 120, 208 and 352 channels and have more blocks. Args, Returns
    and Raises are those of `efficientnet_lite0`.
    """
    return _build(1, end_point, include_top, classes, all_end_points, shift)


def _build(
    column: int,
    end_point: Optional[str],
    include_top: bool,
    classes: int,
    all_end_points: bool,
    shift: float,
) -> keras.Model:
    end_point = chosen_end_point(end_point, END_POINTS, include_top)
    pixels, clips = scaled_pixels("efficientnet_lite", 3)
    layers = _layers(clips, column, classes, shift)
    name = f"efficientnet_lite{2 * column}"
    return model_up_to(end_point, pixels, layers, all_end_points, name)


def _layers(
    clips: tf.Tensor, column: int, classes: int, shift: float
) -> Iterator[tuple[str, tf.Tensor]]:
    """Yields the end points in order, as names and tensors."""
    for name, images in _image_layers(clips, column, shift):
        x = ImagesToFrames(name=f"{name}.frames")([images, clips])
        yield name, x
    x = keras.layers.GlobalAveragePooling3D(dtype="float32", name="average")(x)
    yield "fc", keras.layers.Dense(classes, dtype="float32", name="fc")(x)


def _image_layers(clips: tf.Tensor, column: int, shift: float) -> Iterator[tuple[str, tf.Tensor]]:
    """Yields the end points below the top for images `[B * T, H, W, 3]`."""
    x = FramesToImages(name="images")(clips)
    x = _relu(_norm(_convolution(x, _STEM, "conv_stem", kernel=3, stride=2), "bn0"), "relu0")
    yield "stem", x
    number = 0
    for stage, (kernel, stride, filters, blocks) in enumerate(_STAGES, start=1):
        for block in range(blocks[column]):
            name, inputs = f"blocks.{number}", x
            residual = block > 0
            if residual and shift:
                x = ImagesToFrames(name=f"{name}.frames")([x, clips])
                x = TemporalShift(shift, name=f"{name}.shift")(x)
                x = FramesToImages(name=f"{name}.images")(x)
            x = _block(x, name, kernel, 1 if block else stride, filters[column], wide=stage > 1)
            if residual:
                x = keras.layers.Add(name=f"{name}.add")([x, inputs])
            number += 1
        yield f"stage{stage}", x
    yield "head", _relu(_norm(_convolution(x, _HEAD, "conv_head"), "bn1"), "relu1")


def _block(
    x: tf.Tensor, name: str, kernel: int, stride: int, filters: int, wide: bool
) -> tf.Tensor:
    """Applies an inverted residual block, without the addition of its inputs."""
    if wide:
        x = _convolution(x, _EXPANSION * x.shape[-1], f"{name}.expand_conv")
        x = _relu(_norm(x, f"{name}.bn0"), f"{name}.relu0")
    depthwise = keras.layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{name}.depthwise_conv"
    )
    x = _relu(_norm(depthwise(x), f"{name}.bn1"), f"{name}.relu1")
    return _norm(_convolution(x, filters, f"{name}.project_conv"), f"{name}.bn2")


def _convolution(
    x: tf.Tensor, filters: int, name: str, kernel: int = 1, stride: int = 1
) -> tf.Tensor:
    layer = keras.layers.Conv2D(
        filters,
        kernel,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )
    return layer(x)


def _norm(x: tf.Tensor, name: str) -> tf.Tensor:
    return keras.layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=name)(x)


def _relu(x: tf.Tensor, name: str) -> tf.Tensor:
    return keras.layers.ReLU(6.0, name=name)(x)
