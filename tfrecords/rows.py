"""From a row to its record."""

from __future__ import annotations

from typing import NamedTuple

from tfrecords.sources import Row, Source


class Record(NamedTuple):
    """A row's record: its bytes, and what is counted of it.

    `paired`: it has a conjugate; `negative`: it has no label; frames/s; (height, width); `decoy`:
    its clip has one.
    """

    data: bytes
    paired: bool
    negative: bool
    fps: float
    size: tuple[int, int]
    decoy: bool


def record_bytes(source: Source, row: Row, quality: int = 95) -> Record:
    """Turns a row into its record: a pure function, the same on a thread or on a cluster.

    Raises:
        UnreadableError: the row cannot be read.
    """
    from tfrecords.media import flow
    from tfrecords.records import codec

    pair = source.load(row)
    if source.flow != "none":
        pair = flow.add_flow(pair, source.flow)
    label_ids = {label: index for index, label in enumerate(source.labels)}
    data = codec.encode(pair, label_ids, source.image_format, quality)
    paired, negative = pair.conjugate is not None, not pair.labels
    return Record(data, paired, negative, float(pair.fps), pair.clip.shape[1:3], pair.decoy)
