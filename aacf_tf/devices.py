"""Precision and distribution for the machine at hand."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from aacf_tf.recipes import PRECISIONS, STRATEGIES
from tfrecords.errors import UsageError


def resolve_precision(name: str) -> str:
    """The Keras policy for `name`; `auto` asks the hardware.

    GPUs: mixed_bfloat16 from compute capability 8.0, mixed_float16 from 7.0, else float32.
    CPUs: mixed_bfloat16 where there are instructions for it (avx512_bf16, amx: twice as fast),
    else float32 (3 times as fast as bfloat16 without them). mixed_float16 has no 3-D max pooling
    on CPUs.

    Raises:
        UsageError: an unknown name, or mixed_float16 without a GPU.
    """
    if name not in PRECISIONS:
        raise UsageError(
            f"--precision: expected one of {', '.join(PRECISIONS)}, received {name!r}."
        )
    gpus = tf.config.list_physical_devices("GPU")
    if name == "mixed_float16" and not gpus:
        raise UsageError("--precision: expected a GPU for mixed_float16, received none.")
    if name != "auto":
        return name
    if gpus:
        capabilities = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        lowest = min(details.get("compute_capability", (0, 0)) for details in capabilities)
        if lowest >= (8, 0):
            return "mixed_bfloat16"
        return "mixed_float16" if lowest >= (7, 0) else "float32"
    try:
        features = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        features = ""
    fast = "avx512_bf16" in features or "amx_bf16" in features
    return "mixed_bfloat16" if fast else "float32"


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The distribution strategy for `name`; `auto` mirrors over the GPUs where there are several.

    Without GPUs `mirrored` takes all logical CPUs.

    Raises:
        UsageError: an unknown name.
    """
    if name not in STRATEGIES:
        raise UsageError(f"--strategy: expected one of {', '.join(STRATEGIES)}, received {name!r}.")
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.OneDeviceStrategy("/GPU:0" if gpus else "/CPU:0")
