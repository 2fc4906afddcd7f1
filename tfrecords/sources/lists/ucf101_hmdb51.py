"""UCF101 and HMDB51: trimmed clips in a folder a class, with three divisions into splits.

    DIR/ucfTrainTestlist/trainlist01.txt     UCF101: Class/v_Class_g08_c01.avi 1, a line a clip
                         testlist01.txt      Class/v_Class_g01_c01.avi
    DIR/.../Class/v_Class_g01_c01.avi

    DIR/testTrainMulti_7030_splits/brush_hair_test_split1.txt
                                             HMDB51: NAME.avi 1 (to train on), 2 (to test on) or 0
    DIR/.../brush_hair/NAME.avi

`--fold` chooses the division. K. Soomro, A. R. Zamir, M. Shah: UCF101, 2012. H. Kuehne et al.:
HMDB, ICCV 2011.
"""

from __future__ import annotations

import os
import re

from tfrecords.sources.base import SourceOptions
from tfrecords.sources.lists.listed import Entry, Listed, ListSource, find_files, read_lines
from tfrecords.sources.published.layout import fail
from tfrecords.utils.errors import UsageError

FOLDS = (1, 2, 3)


class Ucf101Source(ListSource):
    """The source `ucf101`; `options.input` is the folder of lists and videos."""

    name = "ucf101"
    takes_fold = True
    expected = "the folder that holds UCF101's ucfTrainTestlist"
    folders = ("ucfTrainTestlist", "UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist")

    def read(self, place: str, options: SourceOptions) -> Listed:
        """Reads the two lists of a division."""
        fold = _fold(options)
        lists = {}
        for split in ("train", "test"):
            lists[split] = find_files(place, self.folders, f"{split}list{fold:02}.txt")
        if not any(lists.values()):
            raise UsageError(f"Expected --input to name {self.expected}, received {place}.")
        entries = []
        for split, paths in lists.items():
            for path in paths:
                for line, text in read_lines(path, options):
                    clip = re.fullmatch(r"([^/]+)/(\S+?)(\s+\d+)?", text)
                    if not clip:
                        fail(
                            f"{path}, line {line}",
                            f"expected Class/v_Class_g01_c01.avi, received {text!r}",
                        )
                    entries.append(Entry(f"{clip[1]}/{clip[2]}", (clip[1],), split, line=line))
        missing = [f"{split}list{fold:02}.txt" for split, paths in lists.items() if not paths]
        remarks = (f"There is no {missing[0]}.",) if missing else ()
        return Listed(entries, remarks=remarks)


class Hmdb51Source(ListSource):
    """The source `hmdb51`; `options.input` is the folder of lists and videos."""

    name = "hmdb51"
    takes_fold = True
    expected = "the folder that holds HMDB51's testTrainMulti_7030_splits"
    folders = (
        "testTrainMulti_7030_splits",
        "test_train_splits/testTrainMulti_7030_splits",
        "splits",
    )

    def read(self, place: str, options: SourceOptions) -> Listed:
        """Reads the lists of a division, one a class."""
        ending = f"_test_split{_fold(options)}.txt"
        paths = find_files(place, self.folders, f"*{ending}")
        if not paths:
            raise UsageError(f"Expected --input to name {self.expected}, received {place}.")
        entries = []
        for path in paths:
            label = os.path.basename(path)[: -len(ending)]
            for line, text in read_lines(path, options):
                name, _, use = text.rpartition(" ")
                if use not in ("0", "1", "2") or not name.strip():
                    fail(
                        f"{path}, line {line}",
                        f"expected the name of a clip and 0, 1 or 2, received {text!r}",
                    )
                if use != "0":
                    split = "train" if use == "1" else "test"
                    entries.append(Entry(f"{label}/{name.strip()}", (label,), split, line=line))
        return Listed(entries)


def _fold(options: SourceOptions) -> int:
    if options.fold not in FOLDS:
        raise UsageError(f"Expected --fold of 1, 2 or 3, received {options.fold}.")
    return options.fold
