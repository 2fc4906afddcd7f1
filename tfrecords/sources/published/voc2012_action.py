"""PASCAL VOC2012 Action: photographs of ten actions, several people and actions in one.

    DIR/JPEGImages/2011_003279.jpg ...
    DIR/Annotations/2011_003279.xml ...           a person an <object>, with a box and <actions>
    DIR/ImageSets/Action/<action>_train.txt       a line a person: image, number of the object, and
    DIR/ImageSets/Action/<action>_val.txt         1 (does it), -1 (does not), 0 (not known)

M. Everingham et al.: The PASCAL Visual Object Classes Challenge 2012. DIR is `VOC2012`, or a folder
that holds it or `VOCdevkit`. The lists say which images belong to a split, the annotations who
does what. `val` becomes the split `test`; the challenge's own test set has no labels, so its lists
are not read.

In training a record is an (image, action) with the boxes of all people doing that action; at test
it is an image, whatever its people do. The labels are all actions done in the image. An image whose
people do none of them is no sample of training, and a test image without a label. `other` is a
class only where `--labels` names it.

Images of 2010 were not annotated for jumping. As records have no word for "not known", they count
as images without it, unless `--labels` names jumping alone: its lists leave them out.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Optional, Sequence, Tuple
from xml.etree import ElementTree

import numpy as np

from tfrecords.conjugates.erase import BOX_MARGIN
from tfrecords.media import images
from tfrecords.media.video import UnreadableError
from tfrecords.records.dataset import load_labels
from tfrecords.sources import photographs
from tfrecords.sources.base import Row, Source, SourceOptions
from tfrecords.sources.published.layout import check_links, fail, read_xml, require_local
from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    from tfrecords.records.clip_pair import ClipPair

ACTIONS = (
    "jumping",
    "phoning",
    "playinginstrument",
    "reading",
    "ridingbike",
    "ridinghorse",
    "running",
    "takingphoto",
    "usingcomputer",
    "walking",
)
OTHER = "other"
SPLITS = {"train": "train", "val": "test"}  # as the lists call them -> as the records do
PLACES = ("", "VOC2012", os.path.join("VOCdevkit", "VOC2012"))
LISTS = os.path.join("ImageSets", "Action")
ASPECT = 0.02  # by how much the shape of an image may differ from that of its annotation

# (xmin, ymin, xmax, ymax) in pixels, 0 on the left and top edge of the image
Box = Tuple[float, float, float, float]


class Person(NamedTuple):
    """A person with annotated actions."""

    box: Box
    actions: frozenset[str]


class Annotation(NamedTuple):
    """The used content of an XML file; `size` is (width, height) in pixels if given.

    people: People with annotated actions; others: Boxes of people without.
    """

    size: Optional[tuple[int, int]]
    people: tuple[Person, ...]
    others: tuple[Box, ...] = ()


@dataclass(frozen=True)
class ImageRow(Row):
    """An image and its people; `problem`: why it has no annotation.

    boxes: Boxes of those who do the action; others: Boxes of everybody else.
    """

    boxes: tuple[Box, ...] = ()
    size: Optional[tuple[int, int]] = None
    problem: str = ""
    others: tuple[Box, ...] = ()

    def wants_conjugate(self, kind: str) -> bool:
        """Returns whether the build removes people: those with a box."""
        return kind == "remove_person" and bool(self.boxes)


class Voc2012ActionSource(Source):
    """The source `voc2012_action`; `options.input` is the folder."""

    name = "voc2012_action"
    one_record_a_span = False  # an image is a record for each of its actions
    multi_label = True
    short_side = photographs.SHORT_SIDE

    def __init__(self, options: SourceOptions):
        self._folder = _find_folder(options.input)
        super().__init__(options)
        self.conjugate = options.conjugate or "remove_person"
        self.eraser = photographs.open_eraser(options, self.conjugate)
        self.labels = list(ACTIONS)
        if options.labels:
            self.labels = load_labels(options.labels)
            for label in self.labels:
                if label not in (*ACTIONS, OTHER):
                    known = ", ".join((*ACTIONS, OTHER))
                    fail(options.labels, f"expected actions among {known}, received {label!r}")
        self._rows: list[ImageRow] = []
        for split in SPLITS:
            for name in self._listed(split):
                self._rows += self._rows_of(name, split)
        if not any(row.labels or row.problem for row in self._rows):
            annotations = os.path.join(self._folder, "Annotations")
            fail(annotations, f"expected people with <actions> ({', '.join(self.labels)})")
        check_links(self._folder, {row.media for row in self._rows}, options.data_root)
        self.remarks = self._missing()

    def rows(self) -> Sequence[Row]:
        """Returns all rows: training, then test, sorted by the images' names."""
        return self._rows

    def fingerprint(self) -> str:
        """Returns a digest of the rows, with boxes and sizes, and of the images' sizes."""
        paths = {row.media: os.path.join(self._folder, row.media) for row in self._rows}
        sizes = [os.path.getsize(p) if os.path.isfile(p) else -1 for p in paths.values()]
        return hashlib.sha256(f"{super().fingerprint()} {sizes}".encode()).hexdigest()

    def load(self, row: ImageRow) -> ClipPair:
        """Decodes an image, draws its mask and removes the people in its boxes.

        Raises:
            UnreadableError: Names the image; it or its annotation is missing or damaged.
        """
        if row.problem:
            raise UnreadableError(row.media, row.problem)
        try:
            image, size = images.read_image(os.path.join(self._folder, row.media), self.short_side)
        except UnreadableError as error:
            raise UnreadableError(row.media, error.reason) from error
        if not row.boxes:
            return photographs.make_pair(row, image, None, None, BOX_MARGIN, self.eraser)
        boxes = _shares(row.boxes, row, size)
        if (boxes[:, :2] >= boxes[:, 2:]).any():
            raise UnreadableError(row.media, "its annotation has a box outside of the image")
        actors = images.draw_boxes(boxes, image.shape[:2])
        people = actors | images.draw_boxes(_shares(row.others, row, size), image.shape[:2])
        return photographs.make_pair(
            row, image, actors, boxes, BOX_MARGIN, self.eraser, people=people
        )

    def _listed(self, split: str) -> list[str]:
        """Returns the images that the lists of the wanted actions name, sorted."""
        names: set[str] = set()
        for action in self.labels:
            path = os.path.join(self._folder, LISTS, f"{action}_{split}.txt")
            if os.path.isfile(path):
                names.update(_read_list(path))
        return sorted(names)

    def _rows_of(self, name: str, split: str) -> list[ImageRow]:
        """Returns the rows of an image: one per action in training, one at test."""
        media = f"JPEGImages/{name}.jpg"
        common = {"split": SPLITS[split], "media": media, "line": len(self._rows) + 1}
        try:
            size, people, unknown = read_annotation(
                os.path.join(self._folder, "Annotations", f"{name}.xml")
            )
        except UnreadableError as error:
            problem = f"Annotations/{name}.xml: {error.reason}"
            return [ImageRow(id=name, labels=(), problem=problem, **common)]
        done = frozenset().union(*(person.actions for person in people))
        labels = tuple(label for label in self.labels if label in done)
        samples = {f"{name}#{label}": {label} for label in labels}
        if SPLITS[split] != "train":
            samples = {name: set(labels)}
        rows = []
        for identity, actions in samples.items():
            boxes = tuple(person.box for person in people if actions & person.actions)
            others = tuple(person.box for person in people if not actions & person.actions)
            rows.append(
                ImageRow(
                    id=identity,
                    labels=labels,
                    boxes=boxes,
                    size=size,
                    others=others + unknown,
                    **common,
                )
            )
        return rows

    def _missing(self) -> tuple[str, ...]:
        """Returns a sentence for each missing part of the data set."""
        remarks = []
        for split in SPLITS:
            lists = [f"{action}_{split}.txt" for action in self.labels if action != OTHER]
            present = set(os.listdir(os.path.join(self._folder, LISTS)))
            absent = [name for name in lists if name not in present]
            if absent:
                remarks.append(f"{LISTS} has no {', '.join(absent)}.")
        media = {row.media for row in self._rows}
        absent = sum(not os.path.isfile(os.path.join(self._folder, name)) for name in media)
        if absent:
            remarks.append(
                f"{absent} of {len(media)} images are not in {self._folder}; skipped.csv names "
                "them."
            )
        return tuple(remarks)


def read_annotation(path: str) -> Annotation:
    """Reads who does what in an image.

    Coordinates stand in any order, and are the numbers of the first and last pixel inside, counted
    from 1.

    Raises:
        UnreadableError: The file is missing, or a person with <actions> has no box.
    """
    try:
        root = read_xml(path)
        sides = [root.findtext(f"size/{name}") for name in ("width", "height")]
        width, height = (int(side) if side and side.strip().isdigit() else 0 for side in sides)
        size = (width, height) if width and height else None
        people, others = [], []
        for person in root.iter("object"):
            flags, box = person.find("actions"), person.find("bndbox")
            if flags is None:
                if person.findtext("name") == "person" and box is not None:
                    others.append(_corners(box))
                continue
            if box is None:
                raise ValueError("a person has no <bndbox>")
            actions = frozenset(flag.tag for flag in flags if _number(flags, flag.tag) > 0)
            people.append(Person(_corners(box), actions))
    except FileNotFoundError as error:
        raise UnreadableError(path, "there is no such file") from error
    except (ValueError, OSError) as error:
        raise UnreadableError(path, f"not an annotation of VOC ({error})") from error
    return Annotation(size, tuple(people), tuple(others))


def _corners(box: ElementTree.Element) -> Box:
    x = sorted(_number(box, name) for name in ("xmin", "xmax"))
    y = sorted(_number(box, name) for name in ("ymin", "ymax"))
    return x[0] - 1, y[0] - 1, x[1], y[1]


def _number(parent: ElementTree.Element, name: str) -> float:
    text = parent.findtext(name)
    try:
        number = math.nan if text is None else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        received = "none" if text is None else repr(text)
        raise ValueError(f"expected a number in <{name}>, received {received}")
    return number


def _shares(boxes: tuple[Box, ...], row: ImageRow, size: tuple[int, int]) -> np.ndarray:
    """Scales boxes of a row to shares of its image: float32 [n, 4]; `size` in pixels."""
    width, height = row.size or size
    if abs(width * size[1] - height * size[0]) > ASPECT * height * size[0]:
        raise UnreadableError(
            row.media,
            f"the image has {size[0]} x {size[1]} pixels, its annotation says {width} x {height}",
        )
    corners = np.array(boxes, float).reshape(-1, 4)
    return np.clip(corners / (width, height, width, height), 0, 1).astype(np.float32)


def _find_folder(path: Optional[str]) -> str:
    expected = "the folder VOC2012, with JPEGImages, Annotations and ImageSets/Action"
    path = require_local(path, "--input", expected)
    for below in PLACES:
        folder = os.path.join(path, below) if below else path
        if os.path.isdir(os.path.join(folder, LISTS)):
            break
    else:
        raise UsageError(f"Expected --input to name {expected}, received {path}.")
    for name in ("JPEGImages", "Annotations"):
        if not os.path.isdir(os.path.join(folder, name)):
            raise UsageError(f"Expected a folder {name} in {folder}, received none.")
    return folder


def _read_list(path: str) -> list[str]:
    """Reads the images that a list names, without those it does not know (0).

    Raises:
        UsageError: A line is not image, number of the object, label.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.split() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Expected a list of images in UTF-8 at {path}: {error}.") from error
    for number, cells in enumerate(lines, 1):
        if cells and not (
            len(cells) == 3
            and cells[0] == os.path.basename(cells[0])
            and cells[1].isdigit()
            and cells[2] in ("1", "0", "-1")
        ):
            fail(
                f"{path}, line {number}",
                "expected an image's name, the number of a person and 1, 0 or -1, received "
                f"{' '.join(cells)!r}",
            )
    return [cells[0] for cells in lines if cells and cells[2] != "0"]
