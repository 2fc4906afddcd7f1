"""J-HMDB with its own files and an index: every clip has the actor's mask for every frame.

    DIR/index.csv    video,mask,label,split (columns as in the source csv)
    DIR/videos/      AVI
    DIR/masks/       MATLAB files, key part_mask, uint8 [240, 320, T], non-zero on the actor

H. Jhuang, J. Gall, S. Zuffi, C. Schmid, M. J. Black: Towards understanding action recognition,
ICCV 2013. The clips show nothing but the action, so conjugates are made: the actor is removed.
"""

from __future__ import annotations

import os

from tfrecords.sources.base import SourceOptions
from tfrecords.sources.csv import Table
from tfrecords.sources.videos import VideoSource
from tfrecords.utils.errors import UsageError


class JhmdbSource(VideoSource):
    """The source `jhmdb`; `options.input` is the folder."""

    name = "jhmdb"
    takes_stills = True

    def __init__(self, options: SourceOptions):
        index = os.path.join(options.input or "", "index.csv")
        if not options.input or not os.path.isfile(index):
            raise UsageError(
                f"Expected --input to name a folder with an index.csv, received {options.input!r}."
            )
        table = Table(index, options)
        if not any(row.mask for row in table.rows):
            table.fail("expected a column mask, received none or an empty one")
        conjugate = options.conjugate or "remove_person"
        if conjugate in ("given", "before_after", "negative_clip"):
            raise UsageError(
                "J-HMDB's clips show nothing but the action: expected --conjugate=remove_person, "
                f"frozen_frame or none, received {conjugate}."
            )
        splits = index if table.has_splits else ""
        super().__init__(options, table.rows, table.paths, table.labels, conjugate, splits)
        self.remarks = (*table.remarks, *self.remarks)
