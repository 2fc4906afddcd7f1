"""What a source is: its options, its rows, its interface.

A source lists its rows cheaply and completely checked; nothing is decoded before `load`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, Sequence

from tfrecords.media.flow import METHODS

if TYPE_CHECKING:
    from tfrecords.conjugates.erase import Eraser
    from tfrecords.records.clip_pair import ClipPair


CONJUGATES = (
    "given",
    "before_after",
    "remove_person",
    "frozen_frame",
    "negative_clip",
    "none",
)
CONJUGATE_RANKS = ("longer", "alike")
BLENDS = ("poisson", "feather", "none")
FLOWS = ("none", *METHODS)


@dataclass(frozen=True)
class SourceOptions:
    """What the user may say about a source; the flags of `tfrecords.build` by the same names.

    Attributes:
        input: the source's table or folder.
        labels: file with one class a line; None: the sorted union over all rows.
        multi_label: whether a clip may have several labels.
        conjugate: one of `CONJUGATES`; None: the source's own default.
        margin: seconds between a clip and its conjugate before or after it.
        conjugate_rank: which of the spans before and after is taken, one of `CONJUGATE_RANKS`: that
            on the longer free side, or the one most like the clip's background.
        fps: frames/s stored; None: each file's own.
        short_side: pixels of the stored frames' shorter side, never enlarged; 0: as they are;
            None: the source's own default.
        data_root: folder the media may lie in; None: the table's own.
        classes: a,b,c or a file with one class a line: rows of others are left out; None: all.
        flow: optical flow to be stored, one of `FLOWS`.
        stills: photographs made of each clip; 0: clips stay clips.
        filler: what fills a hole in a photograph: "telea", or the folder of an exported completion
            network.
        blend: what becomes of the seam of such a hole, one of `BLENDS`.
        decoys: whether photographs of `train` get a hole filled away from all people.
    """

    input: Optional[str] = None
    labels: Optional[str] = None
    multi_label: bool = False
    conjugate: Optional[str] = None
    margin: float = 0.5
    conjugate_rank: str = "longer"
    fps: Optional[float] = None
    short_side: Optional[int] = None
    data_root: Optional[str] = None
    classes: Optional[str] = None
    flow: str = "none"
    stills: int = 0
    filler: str = "telea"
    blend: str = "poisson"
    decoys: bool = False


@dataclass(frozen=True)
class Row:
    """One clip to be: paths as the table writes them, spans in seconds (`end` None: the file's).

    `line` is its line in the table, for messages.
    """

    split: str
    id: str
    labels: tuple[str, ...]
    media: str
    start: float = 0.0
    end: Optional[float] = None
    conjugate_media: Optional[str] = None
    conjugate_start: float = 0.0
    conjugate_end: Optional[float] = None
    mask: Optional[str] = None
    line: int = 0


class Source:
    """What a build asks of a source.

    Attributes:
        name: as in `--source`.
        labels: class names; the place in the list is the id.
        multi_label: whether a clip may have several labels.
        conjugate: one of `CONJUGATES`.
        image_format: "JPEG" or "PNG" (without loss).
        short_side: as in `SourceOptions`, the default filled in.
        flow: Optical flow that `record_bytes` adds, one of `FLOWS`.
        takes_classes: whether `SourceOptions.classes` may be given.
        takes_stills: whether `SourceOptions.stills` may be.
        eraser: what takes people out of photographs, if the source does.
        one_record_a_span: whether a span that stands twice in the rows is a mistake.
        remarks: sentences a user should read before the build, such as what is missing.
    """

    name: str
    labels: list[str]
    multi_label: bool = False
    conjugate: str = "given"
    image_format: str = "JPEG"
    short_side: int = 128
    takes_classes: bool = False
    takes_stills: bool = False
    eraser: Optional[Eraser] = None
    one_record_a_span: bool = True
    remarks: tuple[str, ...] = ()
    flow: str = "none"

    def __init__(self, options: SourceOptions):
        self.flow = options.flow
        if options.short_side is not None:
            self.short_side = options.short_side

    def rows(self) -> Sequence[Row]:
        """All rows, in the order of the input."""
        raise NotImplementedError

    def load(self, row: Row) -> ClipPair:
        """Decodes a row; a pure function of it. UnreadableError: the row must be left out."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Changes when the input does."""
        return hashlib.sha256(repr(self.rows()).encode()).hexdigest()

    def identity(self) -> str:
        """What a worker elsewhere must find too: the input, and what fills holes."""
        return self.fingerprint() + (repr(self.eraser.plan) if self.eraser else "")
