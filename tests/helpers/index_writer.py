"""Writes the indexes of TensorFlow checkpoints by hand, as TensorFlow never would."""

from __future__ import annotations

import struct
from typing import Any


def varint(number: int) -> bytes:
    """A number of 7 bits a byte; a negative one as protocol messages have it."""
    number &= (1 << 64) - 1
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def message(fields: dict[int, Any]) -> bytes:
    """A protocol message: field -> number, bytes, or a list of them."""
    text = b""
    for field, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int):
                text += varint(field << 3) + varint(value)
            else:
                text += varint(field << 3 | 2) + varint(len(value)) + value
    return text


def shape(*sides: int) -> bytes:
    """A TensorShapeProto."""
    return message({2: [message({1: side}) for side in sides]})


def entry(
    kind: int = 1, sides: tuple[int, ...] = (2, 3), start: int = 0, size: int = 24, **more: Any
) -> bytes:
    """A BundleEntryProto; by default float32 [2, 3]; `more`: `shard`, `slices`."""
    fields = {1: kind, 2: shape(*sides), 3: more.get("shard", 0), 4: start, 5: size}
    return message({**fields, **({7: more["slices"]} if "slices" in more else {})})


def block(entries: list[tuple[bytes, bytes]], jumps: tuple[int, ...] = (0,)) -> bytes:
    """A block of entries that share no letters, without its trailer."""
    text = b"".join(
        varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries
    )
    return text + struct.pack(f"<{len(jumps) + 1}I", *jumps, len(jumps))


def table(content: bytes, packed: int = 0) -> bytes:
    """A table of one block; `packed`: how it says that the block is compressed."""
    trailer = bytes([packed]) + bytes(4)
    listed = block([(b"\xff", varint(0) + varint(len(content)))])
    handles = varint(0) + varint(0) + varint(len(content) + len(trailer)) + varint(len(listed))
    end = bytes.fromhex("57fb808b247547db")
    return content + trailer + listed + bytes(5) + handles.ljust(40, b"\0") + end


HEADER = message({1: 1, 3: message({1: 1})})


def write_index(prefix: Any, entries: dict[str, bytes], data: bytes = bytes(24)) -> None:
    """A checkpoint of these entries and these bytes."""
    named = [(name.encode(), value) for name, value in entries.items()]
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(block([(b"", HEADER), *named])))
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)
