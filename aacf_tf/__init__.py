"""Attentive action and context factorization: models, training, evaluation, serving.

    from aacf_tf import build_model, load_recipe, load

Names are imported on first use, so that `import aacf_tf` does not start TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

from tfrecords.commandline import quiet_tensorflow

_HOME = {
    "build_model": "model",
    "load_recipe": "recipes",
    "load": "prediction",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'aacf_tf' has no attribute {name!r}")
    # A script of three lines shows its own output; a TF_CPP_MIN_LOG_LEVEL that is set stands.
    quiet_tensorflow()
    return getattr(importlib.import_module(f"aacf_tf.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
