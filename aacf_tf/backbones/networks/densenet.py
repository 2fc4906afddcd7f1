"""DenseNet-161 for images (Huang, Liu, van der Maaten and Weinberger, CVPR 2017).

Layers, names and padding are those of torchvision's `densenet161`: a layer's name is the path of
its module in that code. Every frame is treated as an image, so a still image is a clip of one frame
and goes through the same heads as a video. The stride in space is 32: 224x224 gives 7x7x2208.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import tensorflow as tf
from tensorflow import keras

from aacf_tf.backbones.networks.common import chosen_end_point, model_up_to, scaled_pixels
from keras_layers import FramesToImages, ImagesToFrames

END_POINTS = (
    "features.pool0",
    "features.denseblock1",
    "features.transition1",
    "features.denseblock2",
    "features.transition2",
    "features.denseblock3",
    "features.transition3",
    "features.denseblock4",
    "features.norm5",
    "classifier",
)
_STEM, _GROWTH, _BLOCKS = 96, 48, (6, 12, 36, 24)
_BOTTLENECK = 4 * _GROWTH


def densenet161(
    end_point: Optional[str] = None,
    include_top: bool = False,
    classes: int = 1000,
    all_end_points: bool = False,
) -> keras.Model:
    """Builds DenseNet-161 from pixels up to one of its end points.

    ```
    pool0         7x7, 96 channels, stride 2; batch norm, ReLU; 3x3 max pool, stride 2
    denseblock    6, 12, 36 and 24 layers, each of which adds 48 channels to its input:
                  batch norm, ReLU, 1x1 to 192, batch norm, ReLU, 3x3 to 48
    transition    between two blocks: batch norm, ReLU, 1x1 to half the channels, 2x2 average pool
    norm5         batch norm, ReLU
    classifier    average of all positions, a dense layer
    ```

    Args:
        end_point: Last end point, one of `END_POINTS`; by default `features.norm5`, with its ReLU,
            which is empty for frames of fewer than 29 pixels. `classifier` includes the top.
        include_top: Short for `end_point="classifier"`.
        classes: Number of classes of the top.
        all_end_points: Whether to return all end points up to the last, by name.

    Returns:
        A model that takes pixels 0..255, uint8 or floating, `[B, T, H, W, 3]`, scales them by the
        ImageNet statistics, and returns the end point: features `[B, T, h, w, D]` in the compute
        dtype of the global policy, or logits float32 `[B, classes]`, the mean over the frames.
        With `all_end_points` a dict of them in order.

    Raises:
        ValueError: If `end_point` is unknown, or lies below the top that `include_top` asks for.
    """
    end_point = chosen_end_point(end_point, END_POINTS, include_top)
    pixels, clips = scaled_pixels("imagenet", 3)
    layers = _layers(clips, classes)
    return model_up_to(end_point, pixels, layers, all_end_points, name="densenet161")


def _layers(clips: tf.Tensor, classes: int) -> Iterator[tuple[str, tf.Tensor]]:
    """Yields the end points in order, as names and tensors."""
    for name, images in _image_layers(FramesToImages(name="images")(clips)):
        x = ImagesToFrames(name=f"{name}.frames")([images, clips])
        yield name, x
    x = keras.layers.GlobalAveragePooling3D(dtype="float32", name="average")(x)
    yield "classifier", keras.layers.Dense(classes, dtype="float32", name="classifier")(x)


def _image_layers(x: tf.Tensor) -> Iterator[tuple[str, tf.Tensor]]:
    """Yields the end points below the top for images `[B * T, H, W, 3]`."""
    # PyTorch pads half a window on every side; SAME padding would depend on the size of the map.
    x = keras.layers.ZeroPadding2D(3, name="features.conv0.pad")(x)
    x = _convolution(x, _STEM, 7, "features.conv0", stride=2)
    x = _norm_relu(x, "features.norm0")
    # PyTorch pads with the smallest number; after a ReLU, zeros give the same maxima.
    x = keras.layers.ZeroPadding2D(1, name="features.pool0.pad")(x)
    x = keras.layers.MaxPooling2D(3, 2, name="features.pool0")(x)
    yield "features.pool0", x
    for block, layers in enumerate(_BLOCKS, start=1):
        for layer in range(1, layers + 1):
            x = _dense_layer(x, f"features.denseblock{block}.denselayer{layer}")
        yield f"features.denseblock{block}", x
        if block < len(_BLOCKS):
            name = f"features.transition{block}"
            filters = x.shape[-1] // 2
            x = _convolution(_norm_relu(x, f"{name}.norm"), filters, 1, f"{name}.conv")
            x = keras.layers.AveragePooling2D(2, name=f"{name}.pool")(x)
            yield name, x
    yield "features.norm5", _norm_relu(x, "features.norm5")


def _dense_layer(x: tf.Tensor, name: str) -> tf.Tensor:
    new = _convolution(_norm_relu(x, f"{name}.norm1"), _BOTTLENECK, 1, f"{name}.conv1")
    new = _convolution(_norm_relu(new, f"{name}.norm2"), _GROWTH, 3, f"{name}.conv2")
    return keras.layers.Concatenate(name=name)([x, new])


def _norm_relu(x: tf.Tensor, name: str) -> tf.Tensor:
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)
    return keras.layers.ReLU(name=name.replace("norm", "relu"))(x)


def _convolution(x: tf.Tensor, filters: int, kernel: int, name: str, stride: int = 1) -> tf.Tensor:
    layer = keras.layers.Conv2D(
        filters,
        kernel,
        stride,
        padding="valid" if stride > 1 else "same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )
    return layer(x)
