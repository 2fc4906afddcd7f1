"""The interface of a source: its options, its rows, its methods.

A source lists its rows cheaply and completely checked; nothing is decoded before `load`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional, Sequence

from tfrecords.media.flow import METHODS
from tfrecords.people.finder import METHODS as FINDERS

if TYPE_CHECKING:
    from tfrecords.conjugates.erase import Eraser
    from tfrecords.people.finder import Finder
    from tfrecords.records.clip_pair import ClipPair


CONJUGATES = (
    "given",
    "before_after",
    "remove_person",
    "frozen_frame",
    "negative_clip",
    "auto",
    "none",
)
CONJUGATE_RANKS = ("longer", "alike")
BLENDS = ("poisson", "feather", "none")
FLOWS = ("none", *METHODS)
PEOPLE = ("none", *FINDERS)
NEAR_DUPLICATES = ("name", "apart", "ignore")


@dataclass(frozen=True)
class SourceOptions:
    """Options of a source, the flags of `tfrecords.build` of the same names.

    Attributes:
        input: Table or folder of the source.
        labels: File with one class a line; None: the sorted union over all rows.
        multi_label: Whether a clip may have several labels.
        conjugate: Origin of conjugates, one of `CONJUGATES`; None: the source's default.
        people: What finds the people of clips without a mask, one of `PEOPLE`.
        margin: Seconds between a clip and its conjugate before or after it.
        conjugate_rank: Choice between the spans before and after, one of `CONJUGATE_RANKS`: the
            longer free side, or the span most like the clip's background.
        encoding: Encoding of tables and lists; None: UTF-8 or UTF-16, as their first bytes show.
        frames_fps: Frames a second of folders of frames, and of numbers of frames in annotations;
            None: such folders are not read, and numbers count at the rate of their video.
        make_splits: Shares of train, validation and test in percent, such as "70,15,15"; with
            ",overwrite" in place of the splits that the input names. None: its own splits.
        group_pattern: Regular expression whose first group, found in the path of a file, names
            what stays in one split.
        near_duplicates: What happens to clips of several splits that look alike, one of
            `NEAR_DUPLICATES`; None: "name" with `make_splits`, else "ignore".
        fold: Number of a published division into splits.
        tier: Tier (ELAN), control (Label Studio) or attribute (VIA, CVAT) that holds the actions,
            several as a,b,c; None: all.
        fps: Stored frame rate; None: each file's own.
        short_side: Shorter side of the stored frames in pixels, never enlarged; 0: as they are;
            None: the source's default.
        data_root: Folder in which the media may lie; None: the table's own.
        classes: Classes to keep, a,b,c or a file with one a line; None: all.
        flow: Optical flow to store, one of `FLOWS`.
        stills: Photographs made of each clip; 0: clips stay clips.
        filler: Method that fills a hole in a photograph: "telea", or the folder of an exported
            completion network.
        blend: Blending of the seam of such a hole, one of `BLENDS`.
        decoys: Whether photographs of `train` get a filled hole away from all people.
    """

    input: Optional[str] = None
    labels: Optional[str] = None
    multi_label: bool = False
    conjugate: Optional[str] = None
    people: str = "none"
    margin: float = 0.5
    conjugate_rank: str = "longer"
    encoding: Optional[str] = None
    frames_fps: Optional[float] = None
    make_splits: Optional[str] = None
    group_pattern: Optional[str] = None
    near_duplicates: Optional[str] = None
    fold: int = 1
    tier: Optional[str] = None
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
    """A clip to build: paths as the table writes them, spans in seconds (`end` None: the file's).

    `line` is its line in the table, for messages; `group` what stays in one split with it.
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
    group: str = field(default="", repr=False)  # no part of a build's fingerprint, as splits are

    def wants_conjugate(self, kind: str) -> bool:
        """Returns whether the build looks for a conjugate of that kind, or makes one."""
        return {
            "none": False,
            "given": self.conjugate_media is not None,
            "remove_person": self.mask is not None,
            "frozen_frame": True,
        }.get(kind, bool(self.labels))


class Source:
    """The clips of a data set, and how to decode them.

    Attributes:
        name: Name, as in `--source`.
        version: Number to raise when the records built from the same input change.
        labels: Class names; the index in the list is the id.
        multi_label: Whether a clip may have several labels.
        conjugate: Origin of conjugates, one of `CONJUGATES`.
        image_format: "JPEG", or "PNG" (lossless).
        short_side: As in `SourceOptions`, with the default filled in.
        flow: Optical flow that `record_bytes` adds, one of `FLOWS`.
        takes_classes: Whether `SourceOptions.classes` may be given.
        takes_stills, takes_fold, takes_tier, takes_frames_fps: Whether the option of that name may
            be given.
        takes_splits: Whether `SourceOptions.make_splits` and its kin may be given.
        takes_people: Whether `SourceOptions.people` may be given.
        eraser: Remover of people from photographs, if the source does that.
        people: Finder of the people of clips without a mask; None: they stay without.
        one_record_a_span: Whether a span that occurs twice in the rows is a mistake.
        remarks: Sentences to print before the build, such as what is missing.
    """

    name: str
    version: int = 0
    labels: list[str]
    multi_label: bool = False
    conjugate: str = "given"
    image_format: str = "JPEG"
    short_side: int = 128
    takes_classes: bool = False
    takes_stills: bool = False
    takes_fold: bool = False
    takes_tier: bool = False
    takes_frames_fps: bool = False
    takes_splits: bool = False
    takes_people: bool = False
    eraser: Optional[Eraser] = None
    people: Optional[Finder] = None
    one_record_a_span: bool = True
    remarks: tuple[str, ...] = ()
    flow: str = "none"

    def __init__(self, options: SourceOptions):
        self.flow = options.flow
        if options.short_side is not None:
            self.short_side = options.short_side

    def rows(self) -> Sequence[Row]:
        """Returns all rows, in the order of the input."""
        raise NotImplementedError

    def load(self, row: Row) -> ClipPair:
        """Decodes a row, as a pure function of it; UnreadableError if it must be left out."""
        raise NotImplementedError

    def wants_conjugate(self, row: Row) -> bool:
        """Returns whether the build looks for a conjugate of a row, or makes one."""
        found = self.conjugate == "remove_person" and self.people is not None
        return found or row.wants_conjugate(self.conjugate)

    def alike(self) -> list[tuple[Row, Row]]:
        """Returns the pairs of clips of different splits that look alike."""
        return []

    def fingerprint(self) -> str:
        """Returns a digest that changes when the input does."""
        return hashlib.sha256(repr(self.rows()).encode()).hexdigest()

    def identity(self) -> str:
        """Returns a digest of the input and the eraser, to compare with a worker elsewhere."""
        erased = repr(self.eraser.plan) if self.eraser else ""
        return self.fingerprint() + erased + (self.people.title if self.people else "")


def with_removal(kinds: Sequence[str], options: SourceOptions) -> tuple[str, ...]:
    """Returns kinds of conjugates of clips without masks, and the removal of people if found."""
    found = options.people != "none" and "remove_person" not in kinds
    return (*kinds, *(("remove_person",) if found else ()))
