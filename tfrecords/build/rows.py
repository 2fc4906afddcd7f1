"""Turns a row into its record, as a pure function, on a thread or on a cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from tfrecords.media.flow import compute
from tfrecords.sources import Row, Source

if TYPE_CHECKING:
    from tfrecords.records.clip_pair import ClipPair


class Record(NamedTuple):
    """A row's record.

    Attributes:
        data: Bytes of the record.
        paired: Whether it has a conjugate.
        negative: Whether it has no label.
        fps: Frame rate.
        size: (height, width).
        decoy: Whether its clip has a decoy.
        lost: Why its conjugate is missing; "": it is not.
        kind: Origin of its conjugate where each clip has its own; else "".
        mask_origin: Origin of its mask, if the record says it; else "".
    """

    data: bytes
    paired: bool
    negative: bool
    fps: float
    size: tuple[int, int]
    decoy: bool
    lost: str = ""
    kind: str = ""
    mask_origin: str = ""


def record_bytes(source: Source, row: Row, quality: int = 95) -> Record:
    """Turns a row into its record.

    Raises:
        UnreadableError: The row cannot be read.
    """
    from tfrecords.records import codec

    pair = source.load(row)
    if source.flow != "none":
        pair = add_flow(pair, source.flow)
    label_ids = {label: index for index, label in enumerate(source.labels)}
    data = codec.encode(pair, label_ids, source.image_format, quality)
    paired, negative = pair.conjugate is not None, not pair.labels
    fps, (_, height, width, _) = float(pair.fps), pair.clip.shape
    size, kind = (height, width), pair.conjugate_kind
    origin = pair.mask_origin
    return Record(data, paired, negative, fps, size, pair.decoy, pair.lost, kind, origin)


def add_flow(pair: ClipPair, method: str) -> ClipPair:
    """Returns the pair with optical flow of its clip and of its conjugate, if any."""
    conjugate = None if pair.conjugate is None else compute(pair.conjugate, method)
    return replace(pair, flow=compute(pair.clip, method), conjugate_flow=conjugate)
