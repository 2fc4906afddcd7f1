"""Attentive action and context factorization: models, training, evaluation, serving.

    from aacf_tf import build_model, load_recipe, load

Names are imported on first use, so that `import aacf_tf` does not start TensorFlow.
"""

from __future__ import annotations

import tfrecords  # noqa: F401  (first: it guards a command against Ctrl-C)

# isort: split
import os
import sys

import lazy_loader

import keras_layers  # noqa: F401  (says if TensorFlow was imported too early)
from tfrecords.utils.commandline import quiet_tensorflow

# Before TensorFlow is imported: its oneDNN kernels, which it leaves off on processors without
# AVX-512 VNNI, make 3-D convolutions three to five times as fast. An explicit setting stands.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# TensorFlow's start-up messages are noise; a TF_CPP_MIN_LOG_LEVEL that is set stands.
quiet_tensorflow()

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
