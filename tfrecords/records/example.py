"""Reads the features of a record by name, type and number; names the feature that is not so."""

from __future__ import annotations

import math
import struct
from typing import Any, List, Optional, Tuple, Type, TypeVar

import tensorflow as tf

from tfrecords.records import names
from tfrecords.utils.errors import UserError

T = TypeVar("T", str, bytes, int, float)

KINDS = {str: "bytes_list", bytes: "bytes_list", int: "int64_list", float: "float_list"}
WORDS = {str: "text", bytes: "string", int: "integer", float: "float"}
PNG = b"\x89PNG\r\n\x1a\n"


class Example:
    """The features of a record; every method raises a UserError that names the feature.

    Args:
        serialized: `tf.train.SequenceExample`, serialised.
    """

    def __init__(self, serialized: bytes):
        try:
            example = tf.train.SequenceExample.FromString(serialized)
        except Exception as error:  # protobuf's DecodeError, which TensorFlow does not export
            raise UserError(
                f"expected a SequenceExample, received {len(serialized):,} bytes that are none"
            ) from error
        self._context = example.context.feature
        self._lists = example.feature_lists.feature_list

    def __contains__(self, name: str) -> bool:
        """Returns whether there is a feature or a list of features of this name."""
        return name in self._context or name in self._lists

    @property
    def lists(self) -> List[str]:
        """Names of the lists of features, sorted."""
        return sorted(self._lists)

    def values(self, name: str, kind: Type[T]) -> List[T]:
        """Returns all values of a feature of the context."""
        if name not in self._context:
            raise UserError(f"{name}: expected {WORDS[kind]} values, received no such feature")
        return _values(self._context[name], kind, name)

    def value(self, name: str, kind: Type[T]) -> T:
        """Returns the only value of a feature of the context."""
        return _only(self.values(name, kind), kind, name)

    def entries(self, name: str, kind: Type[T]) -> List[T]:
        """Returns the values of a list of features, one in each of its entries, at least one."""
        if name not in self._lists or not self._lists[name].feature:
            raise UserError(f"{name}: expected a list of {WORDS[kind]}, received none")
        return [
            _only(_values(feature, kind, name), kind, f"{name}, entry {n}")
            for n, feature in enumerate(self._lists[name].feature)
        ]

    def row(self, name: str, kind: Type[T]) -> List[T]:
        """Returns all values of the only entry of a list of features."""
        entries = self._lists[name].feature if name in self._lists else ()
        if len(entries) != 1:
            raise UserError(f"{name}: expected one entry, received {len(entries)}")
        return _values(entries[0], kind, name)

    def frame_size(self) -> Tuple[int, int]:
        """Returns (height, width) of every frame, as the record says."""
        size = self.value(names.HEIGHT, int), self.value(names.WIDTH, int)
        if min(size) < 1 or math.prod(size) > names.MAX_PIXELS:
            raise UserError(
                f"{names.HEIGHT}, {names.WIDTH}: expected 1 to {names.MAX_PIXELS:,} pixels, "
                f"received {_by(size)}"
            )
        return size

    def pictures(self, name: str, size: Optional[Tuple[int, int]], length: int = 0) -> List[bytes]:
        """Returns the encoded pictures of a list of features; looks at no more than their headers.

        Args:
            name: Name of the list.
            size: Size that each must have, (height, width); None: that of the first.
            length: Number of pictures that there must be; 0: any.
        """
        pictures = self.entries(name, bytes)
        if length and len(pictures) != length:
            raise UserError(f"{name}: expected {length} pictures, received {len(pictures)}")
        for n, encoded in enumerate(pictures):
            found = image_size(encoded)
            if found is None:
                raise UserError(f"{name}, entry {n}: expected a JPEG or PNG, received other bytes")
            size = size or found
            if found != size or math.prod(found) > names.MAX_PIXELS:
                raise UserError(
                    f"{name}, entry {n}: expected a picture of {_by(size)} (height x width), "
                    f"received {_by(found)}"
                )
        return pictures


def image_size(encoded: bytes) -> Optional[Tuple[int, int]]:
    """Returns (height, width) from the header of a PNG or JPEG; None: it is neither."""
    if encoded.startswith(PNG) and encoded[12:16] == b"IHDR" and len(encoded) >= 26:
        width, height = struct.unpack(">II", encoded[16:24])
        return height, width
    place = 2 if encoded.startswith(b"\xff\xd8\xff") else len(encoded)
    while place + 9 <= len(encoded) and encoded[place] == 0xFF:
        marker = encoded[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack(">HH", encoded[place + 5 : place + 9])
            return height, width
        if marker == 0xFF:  # a fill byte
            place += 1
        else:
            place += 2 + int.from_bytes(encoded[place + 2 : place + 4], "big")
    return None


def _by(size: Tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _values(feature: Any, kind: Type[T], name: str) -> List[T]:
    stored = feature.WhichOneof("kind")
    if stored not in (KINDS[kind], None):
        what = stored.replace("_list", "").replace("64", "")
        raise UserError(f"{name}: expected {WORDS[kind]} values, received {what} values")
    values = list(getattr(feature, stored).value) if stored else []
    if kind is not str:
        return values
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: expected text in UTF-8, received other bytes") from error


def _only(values: List[T], kind: Type[T], place: str) -> T:
    if len(values) != 1:
        raise UserError(f"{place}: expected one {WORDS[kind]}, received {len(values) or 'none'}")
    return values[0]
