"""Mutations of valid inputs, each a function of a random generator.

Half of the inputs of some formats are mutated inside their checksums or their syntax: a flipped bit
of a PNG ends at the checksum of its chunk, and says nothing about what lies behind it.
"""

from __future__ import annotations

import functools
import io
import json
import random
import re
import struct
import zipfile
import zlib
from pathlib import PurePath
from typing import Any, Callable, Iterator, Sequence

LONGEST = 1 << 22  # bytes of an input
HEADER = 128  # bytes in which half of the numbers are changed
EDGES = (0, 1, 2, 127, 128, 255, 4095, 1 << 15, (1 << 16) - 1, (1 << 24) - 1, (1 << 31) - 1)
EDGES = (*EDGES, 1 << 31, (1 << 32) - 1, 1 << 36, (1 << 63) - 1, 1 << 63, -1, -2)
FLOATS = (0.0, -1.0, 0.5, 1.5, 1e-30, 1e30, float("inf"), float("nan"))
DEEP = "[" * 20_000 + "]" * 20_000
VALUES = (
    *(None, True, False, 0, -1, 1, 0.5, -0.5, 3, 1 << 31, 1 << 63, 1 << 70, 10**400, 1e308),
    *(float("nan"), float("inf"), "", "x", "1", "a\nb", "\ud800", "\0", "../../x", "x" * 70_000),
    *([], {}, [None], [[]], [1, 2, 3], ["a"], [-1], [1e9] * 4, {"a": {}}, {"": 0}, DEEP),
)
CELLS = (
    *(
        "",
        " ",
        "nan",
        "inf",
        "-1",
        "0",
        "1e400",
        "1e300",
        "1_0",
        "0x10",
        "1,5",
        "٣",
        "é",
        "e\u0301",
    ),
    *("\0", '"a\nb"', '"', '""', "../x", "/etc/passwd", "~", ".", "a|b", "|", "x" * 200_000),
    *("\u2028", "file:///x", "s3://", "\ufeff", "=1+1", "video", "label", "strat", "test", "TRAIN"),
)


def mutate(rng: random.Random, name: str, data: bytes, others: Sequence[bytes]) -> bytes:
    """Returns a mutated input.

    Args:
        rng: Its only source of randomness.
        name: Name of the input; its suffix tells the format.
        data: A valid input.
        others: Valid inputs of the same surface, of which parts may be spliced in.
    """
    inside = _INSIDE.get(PurePath(name).suffix)
    if inside and rng.random() < 0.6:
        return inside(rng, data)[:LONGEST]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice((*_SAME_LENGTH, _cut, _drop, _repeat, _splice))(
            rng, data, rng.choice(others)
        )
    return data[:LONGEST]


# ---- bytes ---------------------------------------------------------------------------------------


def _flip(rng: random.Random, data: bytes, _: bytes = b"") -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _number(rng: random.Random, data: bytes, _: bytes = b"") -> bytes:
    width, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
    end = min(len(data), HEADER) if rng.random() < 0.5 else len(data)
    at = rng.randrange(end) if end else 0
    value = (rng.choice(EDGES) % 256**width).to_bytes(width, order)
    return (data[:at] + value + data[at + width :])[: max(len(data), 1)]


def _fill(rng: random.Random, data: bytes, _: bytes = b"") -> bytes:
    start, end = _span(rng, data)
    byte = rng.choice((b"\0", b"\xff", bytes([rng.randrange(256)])))
    return data[:start] + byte * (end - start) + data[end:]


def _cut(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _drop(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _repeat(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[start:end] * rng.choice((2, 3, 50, 1000)) + data[end:]


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _span(rng: random.Random, data: bytes) -> tuple[int, int]:
    """A block, mostly a short one."""
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 4, 16, 64, 512, len(data) // 2)))


_SAME_LENGTH = (_flip, _number, _fill)


def _change(rng: random.Random, data: bytes) -> bytes:
    """Mutates a part of an input and keeps its length."""
    return rng.choice(_SAME_LENGTH)(rng, data)


# ---- inside a format -----------------------------------------------------------------------------


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yields (object or list, key) of every value of a structure."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from places(node[key])


def _json(rng: random.Random, data: bytes) -> bytes:
    root = [json.loads(data)]
    for _ in range(rng.choice((1, 1, 1, 2))):
        node, key = rng.choice([*places(root)])
        fate = rng.random()
        if fate < 0.15 and node is not root:
            del node[key]
        elif fate < 0.25 and isinstance(node, dict):
            node[rng.choice(("", "x", "name", "..", "\ud800"))] = node[key]
        else:
            node[key] = rng.choice(VALUES)
    # Python's own writer does not nest that deep.
    return json.dumps(root[0] if root else None).replace(json.dumps(DEEP), DEEP).encode()


def _csv(rng: random.Random, data: bytes) -> bytes:
    rows = [line.split(",") for line in data.decode().split("\n")]
    for _ in range(rng.choice((1, 1, 2, 3))):
        row = rng.choice(rows[:1] if rng.random() < 0.2 else rows)
        fate = rng.random()
        if fate < 0.1:
            rows.append(list(row))
        elif fate < 0.2 and len(row) > 1:
            del row[rng.randrange(len(row))]
        elif fate < 0.3:
            row.append(rng.choice(CELLS))
        else:
            row[rng.randrange(len(row))] = rng.choice(CELLS)
    return "\n".join(map(",".join, rows)).encode()


def _png(rng: random.Random, data: bytes) -> bytes:
    """Mutates one chunk; its checksum is right."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append(data[at + 4 : at + 8 + length])
        at += 12 + length
    index = 0 if rng.random() < 0.5 else rng.randrange(len(chunks))
    kind, body = chunks[index][:4], chunks[index][4:]
    if kind == b"IDAT" and rng.random() < 0.5:
        body = zlib.compress(_change(rng, zlib.decompress(body)) * rng.choice((1, 1, 100)))
    chunks[index] = kind + _change(rng, body)
    if rng.random() < 0.2:
        chunks.insert(index, rng.choice(chunks))
    sealed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return data[:8] + b"".join(sealed)


def _zip(rng: random.Random, data: bytes) -> bytes:
    """Mutates one member; a file that is no archive is mutated as it is."""
    if not data.startswith(b"PK"):
        return _change(rng, data)
    out = io.BytesIO()
    kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            body = old.read(name)
            new.writestr(
                zipfile.ZipInfo(name), _change(rng, body) if name == chosen else body, kind
            )
    return out.getvalue()


def _image(rng: random.Random, data: bytes) -> bytes:
    return _png(rng, data) if data.startswith(b"\x89PNG") else _change(rng, data)


def _feature(rng: random.Random, feature: Any) -> None:
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else []
    fate = rng.random()
    if fate < 0.1:
        feature.ClearField(kind or "int64_list")
    elif fate < 0.2:
        feature.int64_list.value[:] = [(rng.choice(EDGES) + (1 << 63)) % (1 << 64) - (1 << 63)]
    elif fate < 0.3:
        feature.bytes_list.value[:] = [rng.choice((b"", b"\xff", b"a" * 1000))]
    elif fate < 0.4:
        feature.float_list.value[:] = [rng.choice(FLOATS)] * rng.choice((1, 2))
    elif fate < 0.5 and values:
        values.append(values[0])
    elif kind == "bytes_list" and values:
        values[0] = _image(rng, values[0])
    elif values:
        edge = rng.choice(FLOATS if kind == "float_list" else (-1, 0, 1, 2, 100, (1 << 63) - 1))
        values[rng.randrange(len(values))] = edge


def _record(rng: random.Random, data: bytes) -> bytes:
    """Mutates features of a SequenceExample."""
    import tensorflow as tf

    example = tf.train.SequenceExample.FromString(data)
    context, lists = example.context.feature, example.feature_lists.feature_list
    for _ in range(rng.choice((1, 1, 1, 2))):
        group = context if rng.random() < 0.4 or not lists else lists
        name, fate = rng.choice(sorted(group)), rng.random()
        items = lists[name].feature if group is lists else [context[name]]
        if fate < 0.1:
            del group[name]
        elif fate < 0.15:
            group[name + "x"].CopyFrom(group[name])
        elif fate < 0.25 and group is lists and items:
            del items[rng.randrange(len(items))]
        elif fate < 0.35 and group is lists and items:
            items.add().CopyFrom(items[0])
        elif items:
            _feature(rng, rng.choice(items))
    return example.SerializeToString(deterministic=True)


@functools.cache
def _crc_table() -> list[int]:
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


def _masked_crc(data: bytes) -> bytes:
    """The checksum of TensorFlow's records and tables."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _index(rng: random.Random, data: bytes) -> bytes:
    """Mutates the only block of entries of a checkpoint's index; its checksum is right."""
    meta = shift = 0
    for byte in data[-48:]:  # a varint: where the next block begins
        meta |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    block = data[: meta - 5]
    # Most shapes and sizes stand behind names, where a byte of a number follows its tag.
    numbers = [match.end() for match in re.finditer(rb"[\x08\x10\x18\x20\x28]", block)]
    if rng.random() < 0.5 and numbers:
        at = rng.choice(numbers)
        tail = rng.choice((b"\0", b"\x7f", b"\xff\x01", b"\xff\xff\xff\x7f", b"\xff" * 8 + b"\x01"))
        block = (block[:at] + tail + block[at + len(tail) :])[: meta - 5]
    else:
        block = _change(rng, block)
    block += data[meta - 5 : meta - 4]
    return block + _masked_crc(block) + data[meta:]


def _shard(rng: random.Random, data: bytes) -> bytes:
    """Mutates the length or the content of one record of a shard; its checksums are right."""
    records, at = [], 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        records.append(data[at + 12 : at + 12 + length])
        at += 16 + length
    chosen, out = rng.randrange(len(records)), []
    for number, body in enumerate(records):
        if number == chosen and rng.random() < 0.7:
            body = _record(rng, body)
        length = struct.pack("<Q", len(body))
        if number == chosen and rng.random() < 0.2:
            length = struct.pack("<Q", rng.choice(EDGES) % (1 << 64))
        out += [length, _masked_crc(length), body, _masked_crc(body)]
    return b"".join(out)


_INSIDE: dict[str, Callable[[random.Random, bytes], bytes]] = {
    ".json": _json,
    ".csv": _csv,
    ".png": _png,
    ".npz": _zip,
    ".pth": _zip,
    ".record": _record,
    ".index": _index,
    ".tfrecord": _shard,
}
