"""Checks TensorFlow checkpoints before TensorFlow reads them.

TensorFlow believes the sizes that a checkpoint states: absurd ones take the memory or end the
process. So every entry of its index is compared with the bytes that are there.

    PREFIX.index                 a table: blocks of entries, sorted by key; a block that lists the
                                 blocks; a footer. Values are protocol messages: of the key "" a
                                 header, of a name a BundleEntryProto.
    PREFIX.data-00000-of-00001   the values of the variables
    PREFIX                       the first version of the format: one table with names, shapes and
                                 values, all in messages SavedTensorSlices

Checksums are TensorFlow's part, which compares those of both files when it reads them.
"""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path
from typing import Any, Iterator, Union

import numpy as np
import tensorflow as tf

from tfrecords.utils.errors import UsageError

TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48  # bytes
_TRAILER = 5  # of a block: how it is compressed, and its checksum
_SHARED = 16  # keys, at most, that build on one another's first bytes
_LARGEST = 1 << 48  # elements of a shape whose zeros are counted as ones
_RANK = 32  # as numpy's
_LONGEST = 1 << 12  # bytes of a key
_NO_NUMBERS = (tf.resource, tf.variant)
# First version: type -> field of its values in a TensorProto, bytes of each (0: of any length).
_VALUES = {1: (5, 4), 2: (6, 8), **dict.fromkeys((3, 4, 5, 6), (7, 0)), 9: (10, 0), 10: (11, 0)}

Message = dict[int, list[Union[int, bytes]]]


def check_checkpoint(prefix: str | Path) -> None:
    """Checks that a checkpoint is whole and that its sizes are those of its files.

    Args:
        prefix: Path without `.index`, or of a file of the first version.

    Raises:
        UsageError: It is not, or cannot be read.
    """
    index = Path(f"{prefix}.index")
    try:
        if index.is_file():
            _check_index(index, Path(prefix))
        else:
            _check_slices(Path(prefix))
    except FileNotFoundError as error:
        missing = Path(error.filename) if index.is_file() else index
        raise UsageError(
            f"{prefix}: expected a whole weight file, {missing} is missing."
        ) from error
    except (ValueError, LookupError, TypeError, OverflowError, struct.error) as error:
        reason = "a broken entry" if isinstance(error, LookupError) else error
        raise UsageError(
            f"{prefix}: expected a whole weight file, received one truncated or corrupt ({reason})."
        ) from error


def _check_index(index: Path, prefix: Path) -> None:
    """Checks each entry of an index against the data files."""
    sizes: dict[Path, int] = {}
    total = shards = 0
    for key, value in _read_table(index):
        message, name = _parse(value), key.decode()
        if not name:
            shards = _number_of(message, 1)
            continue
        data = prefix.with_name(f"{prefix.name}.data-{_number_of(message, 3):05}-of-{shards:05}")
        if data not in sizes:
            sizes[data] = data.stat().st_size
        start, size = _number_of(message, 4), _number_of(message, 5)
        kind, elements = tf.as_dtype(_number_of(message, 1)), _elements(message)
        total += size
        if 7 in message:
            raise ValueError(f"{name} is cut into slices")
        if start + size > sizes[data] or total > sum(sizes.values()):
            raise ValueError(f"{name} is larger than {data.name}")
        if kind == tf.string:
            _check_texts(data, start, size, elements)
        elif size != elements * kind.size or kind in _NO_NUMBERS or kind != kind.base_dtype:
            raise ValueError(f"{name} has {size} bytes for {elements} elements of {kind.name}")


def _check_texts(data: Path, start: int, size: int, count: int) -> None:
    """Checks texts in a data file: their lengths, a checksum, then they themselves."""
    with open(data, "rb") as file:
        file.seek(start)
        stored = file.read(size)
    place = total = 0
    for _ in range(count):
        length, place = _varint(stored, place)
        total += length
    if count and place + 4 + total != size:
        raise ValueError(f"texts of {total} bytes in {size}")


def _check_slices(path: Path) -> None:
    """Checks a file of the first version: first the shapes come, then the values."""
    shapes: dict[bytes, tuple[int, int, int]] = {}
    for key, value in _read_table(path):
        if not key:
            for text in _parse(_text_of(_parse(value), 1)).get(1, []):
                tensor = _parse(text)
                extents = _parse(_text_of(tensor, 4)).get(1, [])
                if len(tensor[4]) > 1 or any(_parse(extent) for extent in extents):
                    raise ValueError(f"{_text_of(tensor, 1)!r} is cut into slices")
                shapes[_text_of(tensor, 1)] = (*_VALUES[_number_of(tensor, 3)], _elements(tensor))
            if max((elements for *_, elements in shapes.values()), default=0) > path.stat().st_size:
                raise ValueError("a shape is larger than the file")
            continue
        piece = _parse(_text_of(_parse(value), 2))
        name = _text_of(piece, 1)
        field, width, elements = shapes[name]
        count = sum(_count(item, width) for item in _parse(_text_of(piece, 3)).get(field, []))
        if count != elements or not key.startswith(b"\0" + name + b"\0\1"):
            raise ValueError(f"{name!r} has {count} values for {elements} elements")


def _count(item: int | bytes, width: int) -> int:
    """Returns the number of values in a field of them; `width` 0: of numbers of any length."""
    if isinstance(item, int):
        return 1
    return len(item) // width if width else int((np.frombuffer(item, np.uint8) < 128).sum())


def _read_table(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yields the entries of a table (key, value), the key "" first."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if len(data) < _FOOTER or data[-len(TABLE_MAGIC) :] != TABLE_MAGIC:
            raise ValueError("its end is missing")
        handle = data[-_FOOTER:]  # of a block that is not used, and of the list of the others
        numbers, place = [], 0
        for _ in range(4):
            number, place = _varint(handle, place)
            numbers.append(number)
        last, room = None, _SHARED * len(data)
        for _, handle in _read_block(data, *numbers[2:]):
            start, place = _varint(handle, 0)
            for key, value in _read_block(data, start, _varint(handle, place)[0]):
                room -= len(key)
                if room < 0 or (key if last is None else key <= last):
                    raise ValueError("names that are out of order")
                last = key
                yield key, value


def _read_block(data: mmap.mmap, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the entries of a block; a key is given by what it shares with the one before."""
    if start + size + _TRAILER > len(data) or data[start + size]:
        raise ValueError("a block that is compressed, or beyond the end")
    block = data[start : start + size]
    (count,) = struct.unpack_from("<I", block, size - 4)
    end = size - 4 * (count + 1)
    jumps = struct.unpack_from(f"<{count}I", block, end)
    place, key, whole = 0, b"", {0}  # places of entries that share nothing
    while place < end:
        begin = place
        shared, place = _varint(block, place)
        rest, place = _varint(block, place)
        length, place = _varint(block, place)
        if shared > len(key) or shared + rest > _LONGEST or place + rest + length > end:
            raise ValueError("an entry that leaves its block")
        if not shared:
            whole.add(begin)
        key = key[:shared] + block[place : place + rest]
        place += rest + length
        yield key, block[place - length : place]
    if not whole.issuperset(jumps):
        raise ValueError("a jump into the middle of an entry")


def _parse(data: Any) -> Message:
    """Returns the values of a protocol message by field."""
    message: Message = {}
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        form = tag & 7
        if not 8 <= tag < 1 << 32:  # field 0, or no field
            raise ValueError("a broken message")
        if form:  # 8 or 4 bytes, or as many as stand before them
            size, place = _varint(data, place) if form == 2 else ({1: 8, 5: 4}[form], place)
            value, place = data[place : place + size], place + size
        else:
            value, place = _varint(data, place)
        message.setdefault(tag >> 3, []).append(value)
    if place > len(data):
        raise ValueError("a message that is cut")
    return message


def _number_of(message: Message, field: int) -> int:
    """Returns the last number of a field; 0 without one."""
    number = message.get(field, [0])[-1]
    if not isinstance(number, int):
        raise ValueError(f"text in place of a number in field {field}")
    return number


def _text_of(message: Message, field: int) -> bytes:
    """Returns the only text or message of a field; empty without one."""
    (text,) = message.get(field, [b""])[-1:]
    if not isinstance(text, bytes) or len(message.get(field, [])) > 1:
        raise ValueError(f"no text in field {field}")
    return text


def _elements(message: Message) -> int:
    """Returns the number of elements of the shape in a message's field 2."""
    shapes = [_parse(shape) for shape in message.get(2, [])]
    parsed = [_parse(side) for shape in shapes for side in shape.get(2, [])]
    sides = [_number_of(side, 1) for side in parsed]
    most = math.prod(max(side, 1) for side in sides)
    named = any(2 in side for side in parsed)  # a name that is no text ends the process
    unknown = any(_number_of(shape, 3) for shape in shapes)
    if len(sides) > _RANK or most > _LARGEST or unknown or named:
        raise ValueError(f"a shape of {sides[:_RANK]}")
    return math.prod(sides)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Returns a number of 7 bits a byte, and the place behind it."""
    number = shift = 0
    while True:
        byte = data[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
