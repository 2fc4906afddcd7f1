"""Backbones: pixels 0..255 `[B, T, H, W, 3]` to a feature map `[B, T', H', W', D]`.

Each scales its input itself, takes any frame count and size, and is an ordinary Keras model.
"""

from aacf_tf.backbones.catalog import BACKBONES, IMAGE_BACKBONES, build_backbone

__all__ = ["BACKBONES", "IMAGE_BACKBONES", "build_backbone"]
