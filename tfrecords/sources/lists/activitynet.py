"""ActivityNet: untrimmed YouTube videos, 200 activities with their times.

    DIR/activity_net.v1-3.min.json    {"database": {ID: {"subset": ..., "annotations":
                                      [{"label": ..., "segment": [start, end]}]}}}
    DIR/.../v_ID.mp4

`--input` is that folder, or the file. `training` is written as `train`, `validation` as `test`; the
labels of `testing` are withheld. F. C. Heilbron et al.: ActivityNet, CVPR 2015.
"""

from __future__ import annotations

import os
from typing import Sequence

from tfrecords.sources.base import SourceOptions
from tfrecords.sources.lists.listed import SPANS, Entry, Listed, ListSource, find_files
from tfrecords.sources.published.hacs_tables import read_segments
from tfrecords.utils.errors import UsageError


class ActivityNetSource(ListSource):
    """The source `activitynet`; `options.input` is the folder or the file of annotations."""

    name = "activitynet"
    expected = "ActivityNet's activity_net.v1-3.min.json, or the folder of it"
    kinds = SPANS

    def read(self, place: str, options: SourceOptions) -> Listed:
        """Reads the segments."""
        path = place
        if os.path.isdir(place):
            (path,) = find_files(place, ("annotations",), "activity_net*.json")[-1:] or [""]
        if not path:
            raise UsageError(f"Expected --input to name {self.expected}, received {place}.")
        return Listed(
            [
                Entry(entry.video, (entry.label,), entry.split, entry.start, entry.end, entry.line)
                for entry in read_segments(path)
            ]
        )

    def names(self, video: str) -> Sequence[str]:
        """Returns the names that the usual downloaders give."""
        return (f"v_{video}.mp4", f"{video}.mp4")
