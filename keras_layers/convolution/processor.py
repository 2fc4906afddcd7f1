"""The instruction sets of the processor, and a warning if TensorFlow leaves oneDNN off."""

from __future__ import annotations

import functools
import logging
import os
import platform
import sys
from pathlib import Path

SWITCH = "TF_ENABLE_ONEDNN_OPTS"
# Any of these makes TensorFlow on Linux turn its oneDNN kernels on by itself.
_ONEDNN_BY_DEFAULT = frozenset(
    ("avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16")
)


@functools.cache
def instruction_sets() -> frozenset[str]:
    """Returns the instruction sets of the processor by Linux's names, such as `avx512_bf16`.

    The set is empty on other systems.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    flags = (line.partition(":")[2] for line in text.splitlines() if line.startswith("flags"))
    return frozenset(next(flags, "").split())


def warn_if_onednn_is_off() -> None:
    """Logs a warning if a TensorFlow that is imported already has left its oneDNN kernels off.

    TensorFlow reads the switch once, when it is imported; afterwards it cannot be turned on.
    """
    if SWITCH in os.environ or sys.platform == "darwin":  # which has no oneDNN kernels
        return
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return
    if sys.platform == "linux" and instruction_sets() & _ONEDNN_BY_DEFAULT:
        return
    logging.getLogger(__name__).warning(
        "TensorFlow was imported before keras_layers, without its oneDNN kernels: on this "
        "processor 3-D convolutions take three to five times as long. Import keras_layers, "
        f"aacf_tf or tfrecords first, or set {SWITCH}=1."
    )
