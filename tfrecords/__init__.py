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

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
