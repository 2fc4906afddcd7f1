"""Charades: people act scripts at home, several actions a video, with their times.

    DIR/.../Charades_v1_classes.txt    c000 Holding some clothes
            Charades_v1_train.csv      id,...,actions,length; actions: c092 11.90 21.20;c147 ...
            Charades_v1_test.csv
    DIR/.../46GP8.mp4

A clip is an action from its start to its end, so that what lies before and after it may be its
conjugate; with --multi_label it is a whole video with all its actions, as the set is mostly scored.
G. A. Sigurdsson et al.: Hollywood in homes, ECCV 2016.
"""

from __future__ import annotations

from tfrecords.sources.base import SourceOptions
from tfrecords.sources.lists.listed import (
    SPANS,
    Entry,
    Listed,
    ListSource,
    find_files,
    read_lines,
)
from tfrecords.sources.published.layout import fail, read_span
from tfrecords.sources.table import TableReader, parse_seconds
from tfrecords.utils.errors import UsageError

FOLDERS = ("Charades", "annotations")


class CharadesSource(ListSource):
    """The source `charades`; `options.input` is the folder."""

    name = "charades"
    expected = "the folder of Charades_v1_train.csv, _test.csv and _classes.txt"
    kinds = SPANS

    def read(self, place: str, options: SourceOptions) -> Listed:
        """Reads the classes and the two tables."""
        names = find_files(place, FOLDERS, "Charades_v1_classes.txt")
        if not names:
            raise UsageError(f"Expected --input to name {self.expected}, received {place}.")
        classes = {}
        for line, text in read_lines(names[0], options):
            number, _, name = text.partition(" ")
            if not name.strip() or number in classes:
                fail(
                    f"{names[0]}, line {line}", f"expected a number and a class, received {text!r}"
                )
            classes[number] = name.strip()
        entries, remarks = [], []
        for split in ("train", "test"):
            for path in find_files(place, FOLDERS, f"Charades_v1_{split}.csv"):
                table = TableReader(path, ("id", "actions"), ("length",), options.encoding)
                beyond = 0
                for line, cells in table:
                    spans = _actions(cells["actions"], classes, f"{path}, line {line}")
                    name = f"{cells['id']}.mp4"
                    if options.multi_label:
                        labels = tuple(dict.fromkeys(label for label, _, _ in spans))
                        entries.append(Entry(name, labels, split, line=line))
                        continue
                    length = parse_seconds(cells.get("length"))
                    for label, start, end in spans:
                        if start >= length:  # the set has some
                            beyond += 1
                        else:
                            entries.append(Entry(name, (label,), split, start, end, line))
                if beyond:
                    remarks.append(
                        f"{path}: {beyond} actions begin after their video's end: left out."
                    )
        return Listed(entries, list(dict.fromkeys(classes.values())), tuple(remarks))


def _actions(text: str, classes: dict[str, str], place: str) -> list[tuple[str, float, float]]:
    """Returns (class, start, end) of the actions in a cell."""
    spans = []
    for part in filter(None, text.split(";")):
        cells = part.split()
        if len(cells) != 3 or cells[0] not in classes:
            fail(place, f"expected actions such as 'c092 11.90 21.20', received {part!r}")
        spans.append((classes[cells[0]], *read_span(cells[1], cells[2], place)))
    return spans
