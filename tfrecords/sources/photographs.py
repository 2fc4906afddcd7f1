"""Shared by sources of photographs: their options, and the step from a picture to its pair."""

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
FPS = 1.0  # stored rate: a photograph lasts a second


def open_eraser(options: SourceOptions, conjugate: str) -> Optional[Eraser]:
    """Opens the remover of people from photographs; None for `conjugate` "none".

    Raises:
        UsageError: If an option makes sense for videos only.
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
    mask_origin: str = "",
    people: Optional[np.ndarray] = None,
    start: float = 0.0,
) -> ClipPair:
    """Makes a clip of one frame and its conjugate of a photograph; in `train` with a decoy.

    Args:
        row: Row of the photograph.
        picture: Picture, uint8 [H, W, 3].
        actors: Map of those who do the action, bool [H, W]; None: nobody does, or nobody knows.
        boxes: Boxes of the actors, as in `ClipPair`.
        margin: Margin of the hole, see `Eraser.pair`.
        eraser: Remover of people; None: no conjugates.
        mask: Map of the actors that is finer than `actors`, bool [H, W]; None (default): no.
        mask_origin: Origin of the mask, if any, as in `ClipPair`; default not said.
        people: Map of everybody, bool [H, W]; None (default): the actors alone.
        start: Time in the file in seconds, default 0.
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
        mask_origin="" if mask is None else mask_origin,
        media_id=row.media,
        start=start,
        boxes=boxes,
        decoy=decoy,
    )
