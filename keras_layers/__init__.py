"""Keras layers of attentive action and context factorization, for any Keras project.

Names are imported on first use, so that `import keras_layers` does not start TensorFlow. Once
TensorFlow is imported, every layer is registered: `keras.models.load_model` finds it.
"""

from __future__ import annotations

import os
import sys

import lazy_loader

from keras_layers.convolution.processor import warn_if_onednn_is_off
from keras_layers.registration import AfterTensorFlow

# Before TensorFlow is imported: its oneDNN kernels, which it leaves off on processors without
# AVX-512 VNNI, make 3-D convolutions three to five times as fast. An explicit setting stands.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
else:
    warn_if_onednn_is_off()

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _register() -> None:
    for name in __all__:
        __getattr__(name)


if hasattr(sys.modules.get("tensorflow"), "keras"):
    _register()
else:
    sys.meta_path.insert(0, AfterTensorFlow(__name__, _register))
