"""Sources whose clips of no action serve as conjugates of other files' clips."""

from __future__ import annotations

import zlib
from typing import Optional, Sequence, TypeVar

from tfrecords.sources.base import Row
from tfrecords.sources.videos import AUTO, VideoSource

T = TypeVar("T")


class NegativeSource(VideoSource):
    """A source that has chosen the negatives: the `conjugate_...` of its rows."""

    auto = AUTO[1:]  # they are not "given" by a person

    def _negative(self, row: Row) -> Optional[tuple[str, float, Optional[float]]]:
        if not row.conjugate_media:
            return None
        return row.conjugate_media, row.conjugate_start, row.conjugate_end


def draw(name: str, choices: Sequence[T]) -> T:
    """Draws one of the choices, as a function of the name alone."""
    return choices[zlib.crc32(name.encode()) % len(choices)]
