"""What sources of photographs share: their options, and from a picture to its pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

import numpy as np

from tfrecords.conjugates.erase import Eraser
from tfrecords.sources.base import Row, SourceOptions
from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    from tfrecords.records.clip_pair import ClipPair

CONJUGATES = ("remove_person", "none")
SHORT_SIDE = 256  # pixels
FPS = 1.0  # what stands in the records: a photograph lasts a second


def open_eraser(options: SourceOptions, conjugate: str) -> Optional[Eraser]:
    """What takes people out of photographs; None for `conjugate` "none".

    Raises:
        UsageError: an option is one of videos.
    """
    if conjugate not in CONJUGATES:
        raise UsageError(
            f"A photograph has no before and after: expected --conjugate="
            f"{' or '.join(CONJUGATES)}, received {conjugate}."
        )
    if options.flow != "none":
        raise UsageError(
            f"A photograph has no motion: expected --flow=none, received {options.flow}."
        )
    if options.fps is not None:
        raise UsageError(f"A photograph has no rate: expected no --fps, received {options.fps:g}.")
    if conjugate == "none":
        return None
    return Eraser(options.filler, options.blend, options.decoys)


def make_pair(
    row: Row,
    picture: np.ndarray,
    actors: Optional[np.ndarray],
    boxes: Optional[np.ndarray],
    margin: float,
    eraser: Optional[Eraser],
    *,
    mask: Optional[np.ndarray] = None,
    people: Optional[np.ndarray] = None,
    start: float = 0.0,
) -> ClipPair:
    """A photograph as a clip of one frame, with its conjugate; in `train` with its decoy.

    Args:
        row: its row.
        picture: uint8 [H, W, 3].
        actors: bool [H, W], where those are who do the action; None: nobody does, or nobody knows.
        boxes: theirs, as in `ClipPair`.
        margin: see `Eraser.pair`.
        eraser: None: no conjugates.
        mask: bool [H, W], of the actors, where it says more than `actors`; None: it does not.
        people: bool [H, W], where anybody is; None: the actors alone.
        start: seconds in the file.
    """
    # Here, since it brings TensorFlow: a mistake in the table is answered at once.
    from tfrecords.records.clip_pair import ClipPair

    mask = actors if mask is None else mask
    clip, conjugate, decoy = picture, None, False
    if eraser and actors is not None:
        others = None
        if row.split == "train":  # at test pictures are what they are
            others = actors if people is None else people
        clip, conjugate, decoy = eraser.pair(picture, actors, margin, others, row.id)
    return ClipPair(
        id=row.id,
        clip=clip[None],
        conjugate=None if conjugate is None else conjugate[None],
        labels=row.labels,
        fps=FPS,
        mask=None if mask is None else mask[None],
        media_id=row.media,
        start=start,
        boxes=boxes,
        decoy=decoy,
    )
