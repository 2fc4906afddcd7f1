"""Makes photographs of a clip: evenly spaced frames of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Mapping, Optional

import numpy as np

from tfrecords.conjugates.erase import MASK_MARGIN, Eraser
from tfrecords.media import images, video
from tfrecords.media.masks import read_mask
from tfrecords.media.video import Video
from tfrecords.people.finder import Finder, find_people
from tfrecords.records.names import ANNOTATED
from tfrecords.sources import photographs
from tfrecords.sources.base import Row

if TYPE_CHECKING:
    from tfrecords.records.clip_pair import ClipPair


@dataclass(frozen=True)
class StillRow(Row):
    """Photograph number `still` of a row's clip, its frame at (still + .5) / `stills` of it."""

    still: int = 0
    stills: int = 1


def still_rows(row: Row, count: int) -> list[StillRow]:
    """Returns the photographs of a row, NAME#0 and so on; one if its file is a photograph."""
    count = 1 if images.is_photograph(row.media) else count
    values = {field.name: getattr(row, field.name) for field in fields(Row)}
    return [
        StillRow(**{**values, "id": f"{row.id}#{n}"}, still=n, stills=count) for n in range(count)
    ]


def read_still(
    row: StillRow,
    paths: Mapping[str, str],
    short_side: int,
    eraser: Optional[Eraser],
    people: Optional[Finder] = None,
) -> ClipPair:
    """Decodes a photograph and makes its conjugate.

    Args:
        row: Row of the photograph.
        paths: Path of every file that rows name.
        short_side: Shorter side in pixels, see `SourceOptions`.
        eraser: Remover of people; None: no conjugate.
        people: Finder of the people of photographs without a mask; None (default): nobody is found.

    Raises:
        UnreadableError: If the file or the mask cannot be read.
    """
    path = paths[row.media]
    if images.is_photograph(path):
        # Not by the decoder of videos, which makes something of every file that is cut short.
        pixels = images.read_image(path, short_side).pixels
        span = Video(pixels[None], photographs.FPS, np.zeros(1))
    else:
        span = video.read_span(path, row.start, row.end, short_side)
    n = int((row.still + 0.5) / row.stills * len(span.frames))
    actors = boxes = mask = None
    origin = ANNOTATED if people else ""  # said where not all have the same
    if row.mask:
        mask = read_mask(paths[row.mask], span, (row.start, row.end), path)[n]
    elif people:
        first = max(0, n - people.reach)
        mask, origin = find_people(people, path, span.frames[first : n + people.reach + 1])
        mask = None if mask is None else mask[n - first]
    if mask is not None and mask.any():
        boxes = _box_around(mask)
        # The whole box goes, as in the paper: what a mask misses of a person would be smeared
        # into the hole.
        actors = images.draw_boxes(boxes, mask.shape)
    else:
        mask = None  # the actor is not visible: no ground truth for the maps
    return photographs.make_pair(
        row,
        span.frames[n],
        actors,
        boxes if row.mask else None,  # boxes are ground truth
        MASK_MARGIN,
        eraser,
        mask=mask,
        mask_origin=origin,
        start=float(span.times[n]),
    )


def _box_around(mask: np.ndarray) -> np.ndarray:
    """Returns the box around a non-empty map, bool [H, W]: float32 [1, 4], as in `ClipPair`."""
    (top, bottom), (left, right) = ((i.min(), i.max() + 1) for i in np.nonzero(mask))
    height, width = mask.shape
    return np.array([[left / width, top / height, right / width, bottom / height]], np.float32)
