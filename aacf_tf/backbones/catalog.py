"""Builds backbones by name.

Their modules are imported on first use, so that listing the names does not start TensorFlow.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from typing import TYPE_CHECKING, Any

from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    from tensorflow import keras


_HOME = {
    "small": "small",
    "i3d": "i3d",
    "resnet3d34": "resnet3d",
    "densenet161": "densenet",
    "efficientnet_lite0": "efficientnet_lite",
    "efficientnet_lite2": "efficientnet_lite",
}
BACKBONES = tuple(_HOME)
IMAGE_BACKBONES = ("densenet161", "efficientnet_lite0", "efficientnet_lite2")
# Networks of other packages, see `aacf_tf.backbones.adapters`.
VIDEO_SWIN = ("keras_cv:videoswin_tiny", "keras_cv:videoswin_small", "keras_cv:videoswin_base")
EXPECTED = f"{', '.join(BACKBONES)}, keras:NAME of keras.applications, {', '.join(VIDEO_SWIN)}"


def is_backbone(name: str) -> bool:
    """Returns whether a backbone has a name that can be built, as far as is known without Keras."""
    return name in (*BACKBONES, *VIDEO_SWIN) or bool(re.fullmatch(r"keras:[A-Za-z]\w*", name))


def sees_images(name: str) -> bool:
    """Returns whether a backbone is a network for photographs, which sees each frame by itself."""
    return name in IMAGE_BACKBONES or name.startswith("keras:")


def has_fixed_size(name: str) -> bool:
    """Returns whether a backbone is built for one number of frames and one frame size."""
    return name in VIDEO_SWIN or name.startswith("keras:NASNet")


def build_backbone(name: str, **options: Any) -> keras.Model:
    """Builds a backbone.

    Args:
        name: Name of the backbone, one of `BACKBONES`, or of a network of another package
            (`aacf_tf.backbones.adapters`).
        **options: Keyword arguments of that backbone's function.

    Returns:
        The model, with new weights.

    Raises:
        ValueError: If the name is unknown.
        UsageError: If the backbone has no such option or refuses its value.
    """
    if not is_backbone(name):
        raise ValueError(f"Expected a backbone of {EXPECTED}. Received {name!r}.")
    if name in BACKBONES:
        build = getattr(importlib.import_module(f"aacf_tf.backbones.networks.{_HOME[name]}"), name)
        known = list(inspect.signature(build).parameters)
        for option in options:
            if option not in known:
                raise UsageError(
                    f"backbone_options: expected one of {', '.join(known)} for the backbone "
                    f"{name!r}, received {option!r}."
                )
    else:
        build = functools.partial(importlib.import_module("aacf_tf.backbones.adapters").adapt, name)
    try:
        return build(**options)
    except (TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"backbone_options: {reason} (backbone {name!r})") from error
