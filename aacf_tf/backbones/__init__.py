"""Backbones: pixels 0..255 `[B, T, H, W, 3]` in, a feature map `[B, t, h, w, D]` out.

Each scales its input by itself, takes any frame count and size, and is an ordinary Keras model.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from tfrecords.errors import UsageError

if TYPE_CHECKING:
    from tensorflow import keras

BACKBONES = ("small", "i3d")


def build_backbone(name: str, **options: Any) -> keras.Model:
    """The backbone of a name.

    Args:
        name: one of BACKBONES.
        **options: keyword arguments of that backbone's function.

    Raises:
        ValueError: an unknown name.
        UsageError: an option that the backbone does not have.
    """
    if name == "small":
        from aacf_tf.backbones.small import small as build
    elif name == "i3d":
        from aacf_tf.backbones.i3d import i3d as build
    else:
        raise ValueError(f"Expected a backbone of {', '.join(BACKBONES)}. Received {name!r}.")
    known = list(inspect.signature(build).parameters)
    for option in options:
        if option not in known:
            raise UsageError(
                f"backbone_options: expected one of {', '.join(known)} for the backbone {name!r}, "
                f"received {option!r}."
            )
    return build(**options)
