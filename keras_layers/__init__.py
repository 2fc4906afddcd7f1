"""Keras layers of attentive action and context factorization; they stand on TensorFlow alone.

Names are imported on first use, so that `import keras_layers` does not start TensorFlow.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from keras_layers.processor import warn_if_onednn_is_off

# Before TensorFlow is imported: its oneDNN kernels, which it leaves off on processors without
# AVX-512 VNNI, make 3-D convolutions three to five times as fast. An explicit setting stands.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
else:
    warn_if_onednn_is_off()

_HOME = {
    "ActionContextAttention": "attention",
    "ActionContextFactorization": "factorization",
    "AttentionPooling": "pooling",
    "StatelessDropout": "dropout",
    "attention_pooling": "pooling",
    "BatchNormalization3D": "normalization",
    "Conv3D": "convolution",
    "ConvUnit3D": "inception3d",
    "FramesToImages": "frames",
    "ImagesToFrames": "frames",
    "InceptionModule3D": "inception3d",
    "NonLocalBlock3D": "nonlocal_block",
    "TemporalShift": "temporal_shift",
    "WinogradConv3D": "winograd",
    "winograd_conv3d": "convolution",
    "winograd_kernel": "winograd",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'keras_layers' has no attribute {name!r}")
    return getattr(importlib.import_module(f"keras_layers.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
