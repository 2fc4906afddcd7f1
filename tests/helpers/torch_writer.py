"""Writes PyTorch files without PyTorch."""

from __future__ import annotations

import pickle
import struct
import zipfile
from typing import NamedTuple

import numpy as np

_STORAGES = {
    "f8": "Double",
    "f4": "Float",
    "f2": "Half",
    "i8": "Long",
    "i4": "Int",
    "u1": "Byte",
    "b1": "Bool",
}


class TorchFiles:
    """Writes PyTorch files without PyTorch: pickles by hand, in both containers.

    A content is made of dicts, tuples, numbers, strings and None, of arrays, which become tensors,
    and of the classes below; anything else is pickled as Python does it.
    """

    class Global(NamedTuple):
        module: str
        name: str

    class Call(NamedTuple):
        function: object
        arguments: tuple

    class Tensor(NamedTuple):
        """A view of a one-dimensional array; `kind` is the storage's type where numpy has none."""

        storage: np.ndarray
        offset: int
        shape: tuple
        strides: tuple
        kind: str = ""
        module: str = "torch"
        view: object = None

    def save(self, path, content, container="zip", compression=0):
        """Writes a file of one container, `zip` or `legacy`; compression as `zipfile` has it."""
        self.storages, self.legacy = [], container == "legacy"
        program = b"\x80\x02" + self._dump(content) + b"."
        if self.legacy:
            head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
            parts = [*(pickle.dumps(item, 2) for item in head), program]
            parts.append(pickle.dumps([str(i) for i in range(len(self.storages))], 2))
            for storage in self.storages:
                parts += [struct.pack("<q", storage.size), storage.tobytes()]
            path.write_bytes(b"".join(parts))
        else:
            with zipfile.ZipFile(path, "w", compression) as archive:
                archive.writestr("archive/data.pkl", program)
                archive.writestr("archive/version", "3\n")
                for key, storage in enumerate(self.storages):
                    archive.writestr(f"archive/data/{key}", storage.tobytes())
        return path

    def _dump(self, value) -> bytes:
        if isinstance(value, np.ndarray):
            steps = tuple(int(np.prod(value.shape[i + 1 :])) for i in range(value.ndim))
            return self._dump(self.Tensor(value.ravel(), 0, value.shape, steps))
        if isinstance(value, self.Tensor):
            keys = [id(storage) for storage in self.storages]
            if id(value.storage) not in keys:
                keys.append(id(value.storage))
                self.storages.append(value.storage)
            kind = value.kind or _STORAGES[value.storage.dtype.str[1:]]
            key = str(keys.index(id(value.storage)))
            kind = self.Global(value.module, f"{kind}Storage")
            pid = ("storage", kind, key, "cpu", value.storage.size)
            storage = self._dump((*pid, value.view) if self.legacy else pid) + b"Q"
            rest = self._dump((value.offset, value.shape, value.strides, False, {}))
            arguments = b"(" + storage + rest[1:]
            return self._dump(self.Global("torch._utils", "_rebuild_tensor_v2")) + arguments + b"R"
        if isinstance(value, self.Global):
            return f"c{value.module}\n{value.name}\n".encode()
        if isinstance(value, self.Call):
            return self._dump(value.function) + self._dump(value.arguments) + b"R"
        if isinstance(value, dict):
            items = b"".join(self._dump(x) for item in value.items() for x in item)
            return b"}(" + items + b"u"
        if isinstance(value, tuple):
            return b"(" + b"".join(map(self._dump, value)) + b"t"
        return pickle.dumps(value, 2)[2:-1]  # without protocol and stop
