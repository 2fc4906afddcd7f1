"""Backbones: Keras models from pixels 0..255 `[B, T, H, W, 3]` to a feature map `[B, t, h, w, D]`.

Each scales its input itself and takes any number of frames and any frame size.
"""

from aacf_tf.backbones.catalog import BACKBONES, build_backbone

__all__ = ["BACKBONES", "build_backbone"]
