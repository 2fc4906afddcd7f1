"""Reads PyTorch files (.pt, .pth, .pth.tar) without PyTorch and without running their code.

Both container formats of `torch.save` are supported:

```
zip (since torch 1.6)      NAME/data.pkl     the pickled object
                           NAME/data/KEY     one raw storage each, not compressed
                           NAME/byteorder    "little" or "big"; absent in older files
legacy                     four pickles (magic number, protocol, system, the object), a fifth one
                           with the keys of the storages, then for each int64 length and raw data
```

A pickle is a program. This one may name `OrderedDict`, `torch.Size`, storage types and the
functions that rebuild tensors and parameters; every other name becomes an inert placeholder that
is never imported, and an error if it stands in place of a weight. Sizes from the file are checked
against the file's length before anything is allocated, and no call that a pickle may make copies
its arguments: many calls of few bytes would fill the memory.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional

import numpy as np

from tfrecords.utils.errors import UsageError

# The pickled magic number, after the two bytes of the pickle's protocol.
_LEGACY_HEAD = pickle.dumps(0x1950A86A20F9469CFC6C, 2)[2:]
_NAMED_CLASSES = 1000  # whole models name some dozens; each placeholder class takes a kilobyte
# A key of tuples nested twice as deep overflows the stack when it is hashed; a tensor has about 7.
_DEEPEST, _NESTING = 1 << 16, ("TUPLE", "REDUCE", "PERSID", "NEWOBJ")
# Keys under which a checkpoint keeps its state dict, if it is not one itself.
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_BFLOAT16 = "bfloat16"  # numpy has none
_DTYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class TorchFile(NamedTuple):
    """Content of a file.

    Attributes:
        tensors: Name -> array in PyTorch's layout, in the file's order; bfloat16 as float32. The
            prefix `module.` of DataParallel is removed.
        arch: Name of the network, if the checkpoint holds one.
    """

    tensors: dict[str, np.ndarray]
    arch: Optional[str]


class _Storage(NamedTuple):
    dtype: str
    key: str
    start: int  # in elements; a legacy file may store views of storages


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements, as the offset


def is_torch_file(head: bytes) -> bool:
    """Returns whether a file with these first 64 bytes may be a PyTorch file."""
    return head[:4] == b"PK\x03\x04" or head[2:].startswith(_LEGACY_HEAD)


def read_torch_file(path: str | Path) -> TorchFile:
    """Reads the tensors of a state dict, or of a checkpoint that holds one.

    Args:
        path: A file written by `torch.save`.

    Raises:
        UsageError: The file is damaged, is no PyTorch file, or holds no state dict.
    """
    try:
        data = Path(path).read_bytes()
        if data[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                content, read_storage = _open_zip(archive, len(data))
                return _collect(content, read_storage)
        return _collect(*_open_legacy(data))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle or archive raises anything
        reason = str(error) or type(error).__name__
        raise UsageError(
            f"{path}: expected a whole PyTorch file, received one truncated or corrupt ({reason})."
        ) from error


def _open_zip(archive: zipfile.ZipFile, size: int) -> tuple[Any, Callable]:
    infos = {info.filename: info for info in archive.infolist()}
    names = [name for name in infos if name.rpartition("/")[2] == "data.pkl"]
    if len(names) != 1:
        raise UsageError(
            "expected a PyTorch file, received a zip archive of "
            f"{', '.join(sorted(infos)[:5]) or 'nothing'}."
        )
    prefix = names[0][: -len("data.pkl")]
    if f"{prefix}constants.pkl" in infos:
        raise UsageError("expected a state_dict, received a TorchScript archive.")
    # torch.save never compresses: members larger than the file are an attack on the memory.
    if sum(info.file_size for info in infos.values()) > size:
        raise UsageError("expected members that are not compressed, received compressed ones.")
    big = f"{prefix}byteorder" in infos and archive.read(f"{prefix}byteorder") == b"big"
    order = ">" if big else "<"

    def read_storage(storage: _Storage) -> np.ndarray:
        return _decode(archive.read(f"{prefix}data/{storage.key}"), storage.dtype, order)

    return _Unpickler.load_from(io.BytesIO(archive.read(names[0])))[0], read_storage


def _open_legacy(data: bytes) -> tuple[Any, Callable]:
    if not is_torch_file(data[:64]):
        raise UsageError(f"expected a PyTorch file, received one that begins {data[:16]!r}.")
    file = io.BytesIO(data)
    _, protocol, system = (_Unpickler.load_from(file)[0] for _ in range(3))
    if protocol != 1001:
        raise UsageError(f"expected version 1001 of the legacy format, received {protocol!r}.")
    order = "<" if system.get("little_endian", True) else ">"
    content, storages = _Unpickler.load_from(file)
    slices, keys = {}, _Unpickler.load_from(file)[0]
    position = file.tell()
    for key in keys:
        (length,) = struct.unpack_from(f"{order}q", data, position)
        begin, position = position + 8, position + 8 + length * _item_size(storages[key])
        if not begin <= position <= len(data):
            raise ValueError(f"storage {key} ends at byte {position} of {len(data)}")
        slices[key] = slice(begin, position)

    def read_storage(storage: _Storage) -> np.ndarray:
        return _decode(memoryview(data)[slices[storage.key]], storage.dtype, order)

    return content, read_storage


class _Unpickler(pickle.Unpickler):
    """Resolves the names that tensors need, and no other."""

    storages: dict[str, str]
    unknown: dict[str, type]

    @classmethod
    def load_from(cls, file: io.BytesIO) -> tuple[Any, dict[str, str]]:
        """Returns the next object of a file, and the types of the storages that it names."""
        start, nested = file.tell(), 0
        # Lengths beyond the end raise here, before anything is allocated; so does a memo index far
        # beyond the last one, for which the unpickler would allocate.
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if "PUT" in opcode.name and (argument or 0) > count:
                raise ValueError(f"memo place {argument} after {count} operations")
            nested += any(name in opcode.name for name in _NESTING)
            if nested > _DEEPEST:
                raise ValueError(f"more than {_DEEPEST} tuples, which may be nested")
        file.seek(start)
        unpickler = cls(file, encoding="latin1")  # pickles of Python 2 hold byte strings
        unpickler.storages, unpickler.unknown = {}, {}
        return unpickler.load(), unpickler.storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        if (module, name) == ("torch", "Size"):
            return _Size()
        if module in ("torch", "torch.cuda") and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if module == "torch._utils" and name.startswith("_rebuild_parameter"):
            return _RebuildParameter()
        source = f"{module}.{name}"
        if source not in self.unknown and len(self.unknown) < _NAMED_CLASSES:
            self.unknown[source] = type("Unknown", (_Unknown,), {"source": source})
        return self.unknown.get(source, _Unknown)

    def persistent_load(self, pid: tuple) -> Any:
        if pid[0] == "module":  # a class and its source, in legacy files of whole models
            return pid[1]
        _, dtype, key, _, _, *view = pid
        if dtype not in _DTYPES.values():
            raise UsageError(f"expected storages of numbers, received {_describe(dtype)}.")
        self.storages[key] = dtype
        return _Storage(dtype, key, view[0][1] if view and view[0] else 0)


# The callables of a pickle. It can set attributes of anything it names; on functions, bound ones
# included, they would persist, while these objects have none.
class _Size:
    __slots__ = ()

    def __call__(self, sizes: Any) -> tuple[int, ...]:
        if type(sizes) is not tuple:
            raise TypeError(f"a shape of the type {type(sizes).__name__}")
        return sizes


class _RebuildTensor:
    __slots__ = ()

    def __call__(self, storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> Any:
        return _Tensor(storage, offset, _Size()(shape), _Size()(strides))


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, data: _Tensor, *_: Any) -> _Tensor:
        return data


class _Dict(dict):
    """Replaces OrderedDict; drops attributes such as a state dict's `_metadata`."""

    __slots__ = ()

    def __init__(self, items: Any = ()):
        """Moves the pairs (a list, from Python 2) out of it, so that a second call gets none."""
        super().__init__(items)
        if items:
            items.clear()

    def __setstate__(self, state: Any) -> None:
        pass


class _Unknown:
    """Replaces an object of a class that is not imported; accepts and drops all data."""

    source = "one of too many classes"

    def __new__(cls, *args: Any, **kwargs: Any):
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass


def _collect(content: Any, read_storage: Callable) -> TorchFile:
    entries = content if isinstance(content, Mapping) else {}
    choices = [entries[key] for key in _STATE_DICT_KEYS if key in entries]
    for state in (*choices, entries):
        if isinstance(state, Mapping) and any(isinstance(v, _Tensor) for v in state.values()):
            break
    else:
        wrong = next((x for x in (*choices, content) if _is_unknown(x)), None)
        if wrong is not None:
            raise UsageError(
                f"expected a state_dict, received an object of {_describe(wrong)}, which is not "
                "imported; save model.state_dict() instead of the model."
            )
        keys = ", ".join(map(str, list(entries)[:8])) or "none"
        raise UsageError(
            f"expected a state_dict of tensors, received {_describe(content)} with the keys {keys}."
        )
    storages: dict[str, np.ndarray] = {}
    tensors = {}
    for name, value in state.items():
        if _is_unknown(value):
            raise UsageError(
                f"expected a tensor at {name!r}, received {_describe(value)}, which stays unread."
            )
        if isinstance(value, _Tensor):
            if value.storage.key not in storages:
                storages[value.storage.key] = read_storage(value.storage)
            tensors[str(name)] = _view(value, storages[value.storage.key], name)
    while all(name.startswith("module.") for name in tensors):
        tensors = {name[len("module.") :]: value for name, value in tensors.items()}
    arch = entries.get("arch")
    return TorchFile(tensors, arch if isinstance(arch, str) else None)


def _view(tensor: _Tensor, storage: np.ndarray, name: str) -> np.ndarray:
    """Returns a tensor as a view that must neither leave nor exceed its storage."""
    offset = tensor.offset + tensor.storage.start
    shape, strides = tensor.shape, tensor.strides
    fits = len(shape) == len(strides) and min((offset, *shape, *strides)) >= 0
    size = math.prod(shape)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides))
    if not fits or size > storage.size or (size and last >= storage.size):
        raise ValueError(f"{name} of shape {list(shape)} lies outside of its storage")
    if not size:
        return np.zeros(shape, storage.dtype)
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)


def _decode(data: bytes | memoryview, dtype: str, order: Literal["<", ">"]) -> np.ndarray:
    if not len(data):
        return np.zeros(0, "f4" if dtype == _BFLOAT16 else dtype)
    if dtype == _BFLOAT16:  # the upper half of a float32
        halves = np.frombuffer(data, f"{order}u2").astype(np.uint32)
        return (halves << 16).view(np.float32)
    return np.frombuffer(data, np.dtype(dtype).newbyteorder(order))


def _item_size(dtype: str) -> int:
    return 2 if dtype == _BFLOAT16 else np.dtype(dtype).itemsize


def _is_unknown(value: Any) -> bool:
    return isinstance(value, _Unknown) or (isinstance(value, type) and issubclass(value, _Unknown))


def _describe(value: Any) -> str:
    return value.source if _is_unknown(value) else type(value).__name__
