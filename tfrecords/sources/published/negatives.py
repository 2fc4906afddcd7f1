"""Sources whose clips of no action serve as conjugates of other files' clips."""

from __future__ import annotations

import zlib
from typing import Any, Optional, Sequence, TypeVar

from tfrecords.media.video import UnreadableError
from tfrecords.sources.base import Row
from tfrecords.sources.videos import VideoSource

T = TypeVar("T")


class NegativeSource(VideoSource):
    """A source that has chosen the negatives: the `conjugate_...` of its rows."""

    def _negative(self, row: Row) -> Optional[tuple[str, float, Optional[float]]]:
        if not row.conjugate_media:
            return None
        return row.conjugate_media, row.conjugate_start, row.conjugate_end

    def _conjugate(self, row: Row, *arguments: Any) -> tuple:
        """As ever; but a negative is of our choosing: one that cannot be read costs no clip."""
        try:
            return super()._conjugate(row, *arguments)
        except UnreadableError:
            return None, None, None


def draw(name: str, choices: Sequence[T]) -> T:
    """One of the choices: another for each name, whatever other names there are."""
    return choices[zlib.crc32(name.encode()) % len(choices)]
