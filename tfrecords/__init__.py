"""Data: video in, records out, batches out.

    from tfrecords import ClipPair, write_dataset, read_dataset

Names are resolved on first use, so that importing the package does not import TensorFlow.
"""

from __future__ import annotations

import tfrecords.utils.interrupt  # noqa: F401  (first: Ctrl-C while the rest is imported)

# isort: split
import os
import sys

import lazy_loader

# Before TensorFlow is imported: its oneDNN kernels, which it leaves off on processors without
# AVX-512 VNNI, make 3-D convolutions three to five times as fast. An explicit setting stands.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Before Keras is: from Python 3.12 on TensorFlow brings Keras 3, and this has it take tf-keras,
# Keras 2's own code. Below, it has Keras 2 anyway, and the switch would want tf-keras as well.
if sys.version_info >= (3, 12):
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    _on = os.environ["TF_USE_LEGACY_KERAS"] in ("1", "true", "True")
    _keras = getattr(sys.modules.get("tensorflow"), "keras", None)
    if not _on or getattr(_keras, "__version__", "2").startswith("3"):
        raise ImportError(
            "aacf_tf and tfrecords work with Keras 2 (tf-keras), but this process has chosen Keras "
            "3: import them before tensorflow and keras_layers, or set TF_USE_LEGACY_KERAS=1."
        )

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
