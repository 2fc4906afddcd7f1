"""Something-Something: people do something with objects; and Diving48: dives in parts.

    DIR/.../labels.json        {"Holding something next to something": "0", ...}, or the name
                               something-something-v2-labels.json
            train.json         [{"id": "78687", "template": "Holding [something] ..."}, ...]
            validation.json
    DIR/.../78687.webm

    of V1: DIR/.../something-something-v1-labels.csv         Holding something
                   something-something-v1-train.csv          100218;Holding something
                   something-something-v1-validation.csv
           DIR/.../100218/00001.jpg ...                      (--frames_fps=12), or 100218.webm

    DIR/.../Diving48_vocab.json          [["Back", "15som", "05Twis", "FREE"], ...]
            Diving48_V2_train.json       [{"vid_name": "OAhlMrQRmAs_00001", "label": 26, ...}]
            Diving48_V2_test.json
    DIR/.../OAhlMrQRmAs_00001.mp4

R. Goyal et al.: The "something something" video database, ICCV 2017. Y. Li, Y. Li, N. Vasconcelos:
RESOUND, ECCV 2018.
"""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, Tuple, TypedDict, TypeVar

from tfrecords.sources.base import SourceOptions
from tfrecords.sources.lists.listed import Entry, Listed, ListSource, find_files, read_lines
from tfrecords.sources.published.layout import fail
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.json_files import read_json

T = TypeVar("T")
FOLDERS = (
    *("labels", "annotations", "something-something-v2", "20bn-something-something-v2"),
    *("something-something-v1", "20bn-something-something-v1"),
)


class _Clip(TypedDict):
    id: str
    template: str


class _Dive(TypedDict):
    vid_name: str
    label: int


class SomethingSource(ListSource):
    """The source `something`; `options.input` is the folder."""

    name = "something"
    expected = "the folder of Something-Something's labels.json (V1: .csv), train and validation"

    def read(self, place: str, options: SourceOptions) -> Listed:
        """Reads the classes and the two lists; validation is tested, as is the custom."""
        for kind in (".json", ".csv"):  # of V2, of V1
            (path,) = find_files(place, FOLDERS, f"*labels{kind}")[:1] or [""]
            if path:
                break
        else:
            raise UsageError(f"Expected --input to name {self.expected}, received {place}.")
        if kind == ".csv":
            labels = [text for _, text in read_lines(path, options)]
        else:
            numbers = _read(path, Dict[str, str])
            if not all(re.fullmatch("[0-9]{1,9}", number) for number in numbers.values()):
                fail(path, "expected a number for each class, received other texts")
            labels = sorted(numbers, key=lambda name: int(numbers[name]))
        known, entries = set(labels), []
        for name, split in (("train", "train"), ("validation", "test")):
            for path in find_files(place, FOLDERS, f"*{name}{kind}"):
                for line, clip, template in _clips(path, options):
                    label = template.replace("[", "").replace("]", "")
                    if label not in known:
                        fail(
                            f"{path}, clip {clip}",
                            f"expected a template among the labels, received {template!r}",
                        )
                    entries.append(Entry(f"{clip}.webm", (label,), split, line=line))
        return Listed(entries, labels)


class Diving48Source(ListSource):
    """The source `diving48`; `options.input` is the folder."""

    name = "diving48"
    expected = "the folder of Diving48_vocab.json, Diving48_V2_train.json and Diving48_V2_test.json"

    def read(self, place: str, options: SourceOptions) -> Listed:
        """Reads the classes and the two lists; of several versions the last."""
        vocabulary = find_files(place, ("annotations",), "Diving48*vocab.json")
        if not vocabulary:
            raise UsageError(f"Expected --input to name {self.expected}, received {place}.")
        labels = ["-".join(filter(None, parts)) for parts in _read(vocabulary[-1], List[List[str]])]
        if not all(labels):
            fail(vocabulary[-1], "expected the parts of each dive, received none")
        entries = []
        for split in ("train", "test"):
            for path in find_files(place, ("annotations",), f"Diving48*{split}.json")[-1:]:
                for line, dive in enumerate(_read(path, List[_Dive]), 1):
                    if not 0 <= dive["label"] < len(labels):
                        fail(
                            f"{path}, clip {dive['vid_name']}",
                            f"expected a label of 0 to {len(labels) - 1}, received {dive['label']}",
                        )
                    name = f"{dive['vid_name']}.mp4"
                    entries.append(Entry(name, (labels[dive["label"]],), split, line=line))
        return Listed(entries, labels)


def _clips(path: str, options: SourceOptions) -> Iterator[Tuple[int, str, str]]:
    """Yields line, name and template of the clips of a list of Something-Something."""
    if path.endswith(".csv"):
        for line, text in read_lines(path, options):
            name, _, template = text.partition(";")
            yield line, name.strip(), template.strip()
    else:
        for line, clip in enumerate(_read(path, List[_Clip]), 1):
            yield line, clip["id"], clip["template"]


def _read(path: str, kind: type[T]) -> T:
    try:
        return read_json(path, kind)
    except UserError as error:
        raise UsageError(str(error)) from error
