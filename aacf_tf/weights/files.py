"""Recognizes weight files by their content and reads their variables, layer by layer.

Values have TensorFlow's layout: kernels `[t, h, w, in, out]`, `[h, w, in, out]` or
`[in, out]`; batch norms with `gamma`, `beta`, `moving_mean`, `moving_variance`.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Optional

import h5py
import numpy as np
import tensorflow as tf
from h5py import h5l  # pyright: ignore[reportAttributeAccessIssue]

from aacf_tf.recipes import load_recipe
from aacf_tf.weights.bundles import TABLE_MAGIC, check_checkpoint
from aacf_tf.weights.checkpoint_folder import newest
from aacf_tf.weights.naming import KERAS, PYTORCH, TENSORFLOW
from aacf_tf.weights.torch_files import is_torch_file, read_torch_file
from tfrecords.utils.errors import UsageError
from tfrecords.utils.filesystem import is_remote

# Files that this project writes.
OWN_CHECKPOINT, OWN_H5 = "checkpoint of a training run", "Keras .weights.h5 file"
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_ROLES = {
    "w": "kernel",
    "W": "kernel",  # Keras 1
    "weights": "kernel",
    "kernel": "kernel",
    "depthwise_kernel": "kernel",
    "b": "bias",
    "biases": "bias",
    "bias": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "moving_mean",
    "running_mean": "moving_mean",
    "moving_variance": "moving_variance",
    "running_var": "moving_variance",
    "running_std": "moving_variance",  # Keras 1, where it is the variance in spite of its name
}

TRIAL_SECONDS = 30  # and a second for each 10 MB
# Touches all that is read of an HDF5 file, and takes little more memory than its size.
H5_TRIAL = """
import contextlib, os, resource, sys
import h5py
size = os.path.getsize(sys.argv[1])
with contextlib.suppress(OSError, ValueError):  # no Linux; a lower limit is set already
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, [used + (1 << 30) + 2 * size] * 2)
def read(name, item):
    for attribute in {"layer_names", "weight_names"}.intersection(item.attrs):
        item.attrs[attribute]
    if isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf" and item.nbytes <= size:
        if not (item.external or item.is_virtual):
            item[()]
with h5py.File(sys.argv[1], "r") as file:
    read("", file)
    file.visititems(read)
"""


class Value(NamedTuple):
    """One variable of a file: its name and shape there, and its value in TensorFlow's layout."""

    name: str
    shape: tuple[int, ...]
    array: np.ndarray


@dataclass
class WeightFile:
    """The variables of a file.

    Attributes:
        path: Path of the file, for messages.
        kind: TENSORFLOW, PYTORCH or KERAS.
        layers: Layer -> role (`kernel`, `bias`, `gamma`, `beta`, `moving_mean`,
            `moving_variance`) -> value, by the file's names.
        others: Variables with another role, or without numbers.
        arch: Name of the network, if the file holds one.
    """

    path: str
    kind: str
    layers: dict[str, dict[str, Value]] = field(default_factory=dict)
    others: list[Value] = field(default_factory=list)
    arch: Optional[str] = None

    def add(self, layer: str, role: Optional[str], value: Value) -> None:
        """Adds a variable; `role` is the framework's word for it."""
        role = _ROLES.get(role or "")
        numbers = np.can_cast(value.array.dtype, np.float64, "same_kind")  # bfloat16 too; no text
        if role is None or not numbers or role in self.layers.get(layer, {}):
            self.others.append(value)
        else:
            self.layers.setdefault(layer, {})[role] = value


def recognise(path: str | Path) -> tuple[str, str]:
    """Returns the kind of a weight file, and its path or prefix.

    Args:
        path: A file. A TensorFlow checkpoint may be given by its prefix, its `.index` or `.data`
            file or its directory, a training run by its working directory.

    Returns:
        One of TENSORFLOW, PYTORCH, KERAS, OWN_CHECKPOINT and OWN_H5; the file or the prefix.

    Raises:
        UsageError: The path does not exist, or the file is of no known kind.
    """
    if is_remote(str(path)):
        raise UsageError(f"Expected weights on this machine, received {path}; copy them first.")
    path = Path(path).expanduser()
    if path.is_dir():
        path = _checkpoint_in(path)
    prefix = path
    if path.suffix == ".index" or ".data-" in path.name:
        prefix = path.with_name(path.name.rpartition(".")[0])
    if Path(f"{prefix}.index").is_file():
        return _checkpoint_kind(str(prefix)), str(prefix)
    if not path.is_file():
        raise UsageError(f"Expected a file of weights, received {path}, which does not exist.")
    with open(path, "rb") as file:
        head = file.read(64)
        file.seek(max(0, path.stat().st_size - len(TABLE_MAGIC)))
        tail = file.read()
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        _try_h5(path)
        with _opened_h5(path) as file:
            return (KERAS if "layer_names" in _root(file).attrs else OWN_H5), str(path)
    if is_torch_file(head):
        return PYTORCH, str(path)
    if tail == TABLE_MAGIC:  # one file alone: the first version of the format
        return _checkpoint_kind(str(path)), str(path)
    raise UsageError(
        "Expected a TensorFlow checkpoint, a PyTorch file or a Keras .h5 file, received "
        f"{path}, which begins {head[:16]!r}."
    )


def read_file(kind: str, path: str) -> WeightFile:
    """Reads a file of published weights.

    Args:
        kind: TENSORFLOW, PYTORCH or KERAS.
        path: Path or prefix, as returned by `recognise`.

    Raises:
        UsageError: The file is damaged.
    """
    return {TENSORFLOW: _read_checkpoint, PYTORCH: _read_torch, KERAS: _read_keras}[kind](path)


def open_checkpoint(prefix: str) -> tf.train.CheckpointReader:
    """Opens a TensorFlow checkpoint; UsageError if it is damaged."""
    check_checkpoint(prefix)
    try:
        return tf.train.load_checkpoint(prefix)
    except Exception as error:  # of many types, without a common one
        raise UsageError(_damaged(prefix, error)) from error


def shapes_in_h5(path: str) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all arrays of an HDF5 file by path; UsageError if it is damaged."""
    shapes = {}
    with _opened_h5(path) as file:

        def collect(name: str, item: h5py.HLObject) -> None:  # not called for links to other files
            if isinstance(item, h5py.Dataset):
                _check_array(item, Path(path).stat().st_size)
                shapes[name] = item.shape

        file.visititems(collect)
    return shapes


def read_variable(reader: tf.train.CheckpointReader, name: str, prefix: str) -> np.ndarray:
    """Returns the value of a variable of a checkpoint; UsageError if it is damaged."""
    try:
        return np.asarray(reader.get_tensor(name))  # a single string comes as bytes
    except Exception as error:
        raise UsageError(_damaged(prefix, error)) from error


def _read_checkpoint(prefix: str) -> WeightFile:
    result, reader = WeightFile(prefix, TENSORFLOW), open_checkpoint(prefix)
    for name in sorted(reader.get_variable_to_shape_map()):
        array = read_variable(reader, name, prefix)
        layer, _, role = name.rpartition("/")
        result.add(layer, role, Value(name, array.shape, array))
    return result


def _read_torch(path: str) -> WeightFile:
    tensors, arch = read_torch_file(path)
    result = WeightFile(path, PYTORCH, arch=arch)
    for name, array in tensors.items():
        layer, _, role = name.rpartition(".")
        norm = f"{layer}.running_mean" in tensors
        if role == "weight":
            role = "gamma" if norm else "kernel"
        elif role == "bias":
            role = "beta" if norm else "bias"
        value = Value(name, array.shape, array)
        if role == "kernel" and array.ndim >= 2:  # out, in, then time and space
            value = value._replace(array=np.moveaxis(array, (0, 1), (-1, -2)))
        result.add(layer, role, value)
    return result


def _read_keras(path: str) -> WeightFile:
    result, room = WeightFile(path, KERAS), Path(path).stat().st_size
    with _opened_h5(path) as file:
        root = _root(file)
        for layer in _names(root, "layer_names"):
            group = _member(root, layer)
            for name in _names(group, "weight_names"):
                array = _check_array(_member(group, name), room)[()]
                room -= array.nbytes
                scope, _, role = name.partition(":")[0].rpartition("/")
                if not scope:  # Keras 1: conv1_W
                    role = role[len(layer) + 1 :] if role.startswith(f"{layer}_") else role
                # A layer made of layers names the inner one.
                inner = scope if scope.startswith(f"{layer}/") else layer
                result.add(inner, role, Value(name, array.shape, array))
    return result


def _checkpoint_kind(prefix: str) -> str:
    return OWN_CHECKPOINT if open_checkpoint(prefix).has_tensor(OBJECT_GRAPH) else TENSORFLOW


def _checkpoint_in(folder: Path) -> Path:
    """Returns the checkpoint of a directory: of a run, the best or the last of its last stage."""
    config = folder / "config.json"
    if config.is_file():
        stages = [folder / "checkpoints" / stage.name for stage in load_recipe(str(config)).stages]
        folder = next((stage for stage in reversed(stages) if stage.is_dir()), folder)
    for directory in (folder / "best", folder):
        last = newest(directory)
        if last:
            return Path(last)
    checkpoints = sorted(folder.glob("*.index"))
    if len(checkpoints) != 1:
        raise UsageError(
            f"Expected the working directory of a run, or a folder with one checkpoint, received "
            f"{folder} with {', '.join(file.name for file in checkpoints[:10]) or 'none'}."
        )
    return checkpoints[0]


def _try_h5(path: Path) -> None:
    """Reads an HDF5 file in a process of its own; UsageError if that fails.

    Over a damaged file the HDF5 library may loop for ever, fill the memory or end with a signal.
    """
    command = [sys.executable, "-I", "-c", H5_TRIAL, str(path)]
    seconds = TRIAL_SECONDS + path.stat().st_size / 1e7
    try:
        trial = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise UsageError(_damaged(path, TimeoutError("it has no end"))) from error
    if trial.returncode:
        last = trial.stderr.strip().splitlines()[-1:] or [f"signal {-trial.returncode}"]
        raise UsageError(_damaged(path, ValueError(last[0].partition(": ")[2] or last[0])))


@contextmanager
def _opened_h5(path: str | Path) -> Iterator[h5py.File]:
    """Opens an HDF5 file; any error while it is open becomes a UsageError, as damage raises any."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except Exception as error:
        raise UsageError(_damaged(path, error)) from error


def _root(file: h5py.File) -> Any:
    """Returns the group of the layers; in a file of a whole model it is one level down."""
    whole = "model_weights"
    return _member(file, whole) if file.id.links.exists(whole.encode()) else file


def _member(group: Any, path: str) -> Any:
    """Returns the item at a path of the file, without following links, which may leave it."""
    for name in path.split("/"):
        if group.id.links.get_info(name.encode()).type != h5l.TYPE_HARD:
            raise ValueError(f"{path} is a link")
        group = group[name]
    return group


def _check_array(item: h5py.HLObject, room: int) -> h5py.Dataset:
    """Returns the item if it is a numeric array in this file of at most `room` bytes."""
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "biuf":
        raise ValueError(f"{item.name} is no array of numbers")
    if item.external or item.is_virtual:
        raise ValueError(f"{item.name} lies in another file")
    # Keras does not compress: an array larger than its file is an attack on the memory.
    if math.prod(item.shape) * item.dtype.itemsize > room:
        raise ValueError(f"{item.name} {list(item.shape)} is larger than the file")
    return item


def _names(group: Any, attribute: str) -> list[str]:
    # One flipped bit turns strings into lists of any length, which crash the HDF5 library.
    if group.attrs.get_id(attribute).get_type().get_class() == h5py.h5t.VLEN:
        raise ValueError(f"{attribute} holds no texts")
    names = group.attrs[attribute]
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def _damaged(path: str | Path, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{path}: expected a whole weight file, received one truncated or corrupt ({reason})."
