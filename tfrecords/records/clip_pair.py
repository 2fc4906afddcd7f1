"""A decoded pair of clip and conjugate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

import numpy as np

from tfrecords.records.names import AUTOMATIC, MASK_ORIGINS

BOXES_RULE = "0 <= xmin < xmax <= 1 and 0 <= ymin < ymax <= 1"


def are_boxes(boxes: np.ndarray) -> bool:
    """Returns whether boxes, float [n, 4], obey `BOXES_RULE`."""
    inside = (boxes >= 0) & (boxes <= 1)
    return bool(inside.all() and (boxes[:, :2] < boxes[:, 2:]).all())


@dataclass(eq=False)
class ClipPair:
    """A clip and its conjugate, decoded.

    Attributes:
        id: Name, unique in its data set.
        clip: Frames, uint8 [T, H, W, 3], RGB, T >= 1.
        conjugate: Frames of the conjugate, uint8 [T', H, W, 3]; None: no conjugate.
        labels: Names of the clip's actions; empty for a clip without an action.
        fps: Frame rate of clip and conjugate.
        mask: Map of the actor, bool [T, H, W]; None: not known.
        mask_origin: Origin of the mask, one of `names.MASK_ORIGINS`; "": not said, as in records of
            before, which is annotated.
        media_id: File the clip was cut from, as its data set names it.
        start, end: Span in that file in seconds, 0 <= start <= end; `end` None: start + T / fps.
        conjugate_media_id, conjugate_start, conjugate_end: The same for the conjugate; None: those
            of the clip.
        boxes: Boxes of the people who act in a still image (T = 1), float32 [n, 4]: xmin, ymin,
            xmax, ymax as shares 0..1 of width and height; None: not known.
        flow: Optical flow of the clip, uint8 [T, H, W, 2], as in `tfrecords.media.flow`; None: no
            flow.
        conjugate_flow: Optical flow of the conjugate, uint8 [T', H, W, 2]; required if there are
            both flow and conjugate.
        decoy: Whether a part of the clip without people was filled like the conjugate's hole.
        conjugate_kind: Origin of the conjugate where each clip has its own; "": the data set's.
        lost: Why the conjugate that was planned is missing; "": nothing is missing.

    Raises:
        ValueError: A shape, dtype or value is not as above.
    """

    id: str
    clip: np.ndarray
    conjugate: Optional[np.ndarray]
    labels: Sequence[str]
    fps: float = 25.0
    mask: Optional[np.ndarray] = None
    media_id: str = ""
    start: float = 0.0
    end: float = None  # type: ignore  # set by `__post_init__`
    conjugate_media_id: Optional[str] = None
    conjugate_start: Optional[float] = None
    conjugate_end: Optional[float] = None
    boxes: Optional[np.ndarray] = None
    flow: Optional[np.ndarray] = None
    conjugate_flow: Optional[np.ndarray] = None
    decoy: bool = False
    conjugate_kind: str = ""
    lost: str = ""
    mask_origin: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.labels, str):
            raise self._error("labels as a sequence of names", f"the string {self.labels!r}")
        self.labels = tuple(self.labels)
        self._check_frames("clip", self.clip)
        if self.conjugate is not None:
            self._check_frames("conjugate", self.conjugate)
            if self.conjugate.shape[1:3] != self.clip.shape[1:3]:
                raise self._error(
                    f"a conjugate of the clip's height and width {self.clip.shape[1:3]}",
                    self.conjugate.shape[1:3],
                )
        if self.mask is not None:
            self.mask = np.asarray(self.mask)
            if self.mask.dtype != bool or self.mask.shape != self.clip.shape[:3]:
                raise self._error(
                    f"mask as bool {self.clip.shape[:3]}, aligned to the clip",
                    f"{self.mask.dtype} {self.mask.shape}",
                )
        if self.mask_origin not in ("", *MASK_ORIGINS) or (self.mask_origin and self.mask is None):
            raise self._error(
                f"mask_origin of a mask among {', '.join(MASK_ORIGINS)}", repr(self.mask_origin)
            )
        if self.boxes is not None:
            self._check_boxes()
        self._check_flow()
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise self._error("fps above 0", self.fps)
        if self.end is None:
            self.end = self.start + len(self.clip) / self.fps
        self._check_span("", self.start, self.end)
        start = self.conjugate_start or 0.0
        end = start if self.conjugate_end is None else self.conjugate_end
        self._check_span("conjugate_", start, end)

    @property
    def mask_is_automatic(self) -> bool:
        """Whether a program found the mask: then it is no ground truth."""
        return self.mask_origin.startswith(AUTOMATIC)

    def _check_span(self, prefix: str, start: float, end: float) -> None:
        if not 0 <= start <= end < np.inf:
            names = f"{prefix}start, {prefix}end"
            raise self._error(f"{names} in seconds with 0 <= start <= end", f"{start}, {end}")

    def _check_frames(self, name: str, frames: np.ndarray) -> None:
        frames = np.asarray(frames)
        shape = frames.shape
        if frames.dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
            raise self._error(
                f"{name} as uint8 [T, H, W, 3] with T, H, W >= 1", f"{frames.dtype} {shape}"
            )

    def _check_boxes(self) -> None:
        if len(self.clip) != 1:
            raise self._error("boxes with a still image only", f"a clip of {len(self.clip)} frames")
        self.boxes = np.asarray(self.boxes, np.float32)
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise self._error("boxes as [n, 4]", self.boxes.shape)
        if not are_boxes(self.boxes):
            raise self._error(f"boxes of {BOXES_RULE}", self.boxes.tolist())

    def _check_flow(self) -> None:
        if (self.conjugate_flow is None) != (self.flow is None or self.conjugate is None):
            what = "none" if self.conjugate_flow is None else "one"
            raise self._error("conjugate_flow where both flow and conjugate are, only there", what)
        for name, flow, frames in (
            ("flow", self.flow, self.clip),
            ("conjugate_flow", self.conjugate_flow, self.conjugate),
        ):
            if flow is None or frames is None:
                continue
            shape = (*frames.shape[:3], 2)
            if flow.dtype != np.uint8 or flow.shape != shape:
                raise self._error(f"{name} as uint8 {shape}", f"{flow.dtype} {flow.shape}")

    def _error(self, expected: str, received: object) -> ValueError:
        return ValueError(f"Record {self.id!r}: Expected {expected}. Received {received}.")
