"""Builds backbones by name.

Their modules are imported on first use, so that listing the names does not start TensorFlow.
"""

from __future__ import annotations

import importlib
import inspect
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


def build_backbone(name: str, **options: Any) -> keras.Model:
    """Builds a backbone.

    Args:
        name: Name of the backbone, one of `BACKBONES`.
        **options: Keyword arguments of that backbone's function.

    Returns:
        The model, with new weights.

    Raises:
        ValueError: If the name is unknown.
        UsageError: If the backbone has no such option or refuses its value.
    """
    if name not in BACKBONES:
        raise ValueError(f"Expected a backbone of {', '.join(BACKBONES)}. Received {name!r}.")
    build = getattr(importlib.import_module(f"aacf_tf.backbones.networks.{_HOME[name]}"), name)
    known = list(inspect.signature(build).parameters)
    for option in options:
        if option not in known:
            raise UsageError(
                f"backbone_options: expected one of {', '.join(known)} for the backbone {name!r}, "
                f"received {option!r}."
            )
    try:
        return build(**options)
    except (TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"backbone_options: {reason} (backbone {name!r})") from error
