"""The machine that a benchmark runs on: what it is, how fast its matrix product is, its memory."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import multiprocessing
import os
import platform
import re
import shutil
from pathlib import Path
from typing import Any, Callable

from keras_layers.convolution.processor import instruction_sets

INSTRUCTION_SETS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
)
LIBRARIES = ("tensorflow", "numpy", "torch")
# Environment variables that hold a library to older instructions than the processor has.
LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
# The product of square matrices of this size, several times in a row: 232 GFLOP. Larger matrices
# and other shapes are no faster.
PEAK_SIZE, PEAK_TIMES = 3072, 4


def hold(threads: int) -> None:
    """Confines this process to `threads` cores; call it before TensorFlow or PyTorch is imported.

    TensorFlow runs one operation at a time on all of these cores; so does PyTorch.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if has_torch():
        import torch

        torch.set_num_threads(threads)


def has_torch() -> bool:
    """Whether PyTorch can be imported; its rows are left out otherwise."""
    return importlib.util.find_spec("torch") is not None


def missing_peers() -> list[str]:
    """Returns a sentence for each kind of PyTorch row that cannot run on this machine."""
    if not has_torch():
        return ["PyTorch is not installed: its rows are left out."]
    if not shutil.which("g++"):
        return ["g++ is missing, which torch.compile needs: the compiled rows are left out."]
    return []


def describe() -> dict[str, Any]:
    """Returns what is needed to judge a figure that was measured on this machine.

    Returns:
        `processor`; `cores`, those this process may use; `instructions`, of `INSTRUCTION_SETS`;
        `limits`, the set ones of `LIMITS`; `onednn`, the value of `TF_ENABLE_ONEDNN_OPTS`; `gpus`;
        `versions` of Python and of the installed `LIBRARIES`.
    """
    name, family = _processor()
    features = instruction_sets()
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        if importlib.util.find_spec(library):
            versions[library] = importlib.metadata.version(library)
    return {
        "processor": f"{name} ({family})" if family else name,
        "cores": _cores(),
        "instructions": [name for name in INSTRUCTION_SETS if name in features],
        "limits": {name: os.environ[name] for name in LIMITS if os.environ.get(name)},
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "TensorFlow's choice"),
        "gpus": _gpus(),
        "versions": versions,
    }


def matrix_product(dtype: str) -> Callable[[], None]:
    """Returns the fastest thing the machine does with numbers of this type: see `PEAK_SIZE`."""
    import numpy as np
    import tensorflow as tf

    draw = np.random.default_rng(0)
    a, b = (
        tf.cast(tf.constant(draw.standard_normal([PEAK_SIZE] * 2, np.float32)), dtype) for _ in "ab"
    )

    def product() -> None:
        for _ in range(PEAK_TIMES):
            tf.linalg.matmul(a, b)

    return product


def peak_gflop() -> float:
    """Returns the cost of one call of a `matrix_product`."""
    return PEAK_TIMES * 2 * PEAK_SIZE**3 / 1e9


def peak_bytes(make: Callable[[], Callable[[], Any]], threads: int) -> int | None:
    """Measures the memory that a call takes at its peak, beyond its weights and inputs.

    It is measured in a process of its own, since TensorFlow's allocator gives nothing back.

    Args:
        make: builds what is called, its weights and inputs; must be picklable.
        threads: Number of threads, see `hold`.

    Returns:
        Bytes, or None if the system does not tell (it is Linux that does).
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (make, threads))


def resident(what: str) -> int:
    """Returns the bytes of this process in memory: now (`VmRSS`) or at its peak (`VmHWM`).

    Not by the module `resource`, whose peak includes that of the parent process.
    """
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{what}:\s+(\d+) kB", text)[1]) * 1024


def _peak(make: Callable[[], Callable[[], Any]], threads: int) -> int:
    hold(threads)
    call = make()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    for _ in range(2):  # a second call may take more: the first one traces
        call()
    return resident("VmHWM") - before


def _processor() -> tuple[str, str]:
    """Returns the name and the family of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), ""

    def value(key: str) -> str:
        line = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
        return line[1].strip() if line else ""

    family = f"family {value('cpu family')}, model {value('model')}" if value("model") else ""
    return value("model name") or platform.machine(), family


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> list[str]:
    import tensorflow as tf

    return [gpu.name for gpu in tf.config.list_physical_devices("GPU")]
