"""Data: video in, records out, batches out.

    from tfrecords import ClipPair, write_dataset, read_dataset

Names are resolved on first use, so that importing the package does not import TensorFlow.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

# Before TensorFlow is imported: its oneDNN kernels, which it leaves off on processors without
# AVX-512 VNNI, make 3-D convolutions three to five times as fast. An explicit setting stands.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_HOMES = {
    "load_info": "tfrecords.records.dataset",
    "ClipPair": "tfrecords.records.clip_pair",
    "write_dataset": "tfrecords.records.writer",
    "read_dataset": "tfrecords.reading.clips",
}
__all__ = ["ClipPair", "load_info", "read_dataset", "write_dataset"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
