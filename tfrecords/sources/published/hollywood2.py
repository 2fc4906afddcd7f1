"""Hollywood2: scenes of 69 films, 12 actions, several a clip.

    DIR/ClipSets/<Action>_train.txt    a line a clip: its name, then 1 (shows the action) or -1
    DIR/ClipSets/<Action>_test.txt
    DIR/AVIClips/actioncliptrain00001.avi ...   or the same names with another extension

M. Marszalek, I. Laptev, C. Schmid: Actions in context, CVPR 2009. 823 clips to train on, 884 to
test. Other lists of that folder (`actions_*.txt`, `*_autotrain.txt`: labels from film scripts) and
`ShotBounds/` are not read.

Conjugates. A clip is its whole file, so nothing lies before or after it; and although most clips
hold several shots, no list says which of them show the action: the next shot is often the same
action from the other side. The film a clip comes from is not published either. What is true of
every clip is that its first frame holds the scene and the people without the motion: so
`frozen_frame` is the default. `negative_clip` takes a clip of no action, from another scene.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace

from tfrecords.sources.base import Row, SourceOptions, with_removal
from tfrecords.sources.published.layout import (
    check_links,
    fail,
    ordered_labels,
    require_local,
    videos_by_stem,
)
from tfrecords.sources.published.negatives import NegativeSource, draw
from tfrecords.utils.errors import UsageError

ACTIONS = (
    "AnswerPhone",
    "DriveCar",
    "Eat",
    "FightPerson",
    "GetOutCar",
    "HandShake",
    "HugPerson",
    "Kiss",
    "Run",
    "SitDown",
    "SitUp",
    "StandUp",
)
SPLITS = ("train", "test")
CONJUGATES = ("frozen_frame", "negative_clip", "auto", "none")


class Hollywood2Source(NegativeSource):
    """The source `hollywood2`; `options.input` is the folder."""

    name = "hollywood2"

    def __init__(self, options: SourceOptions):
        expected = "the folder that holds Hollywood2's ClipSets and AVIClips"
        folder = require_local(options.input, "--input", expected)
        sets = os.path.join(folder, "ClipSets")
        if not os.path.isdir(sets):
            raise UsageError(f"Expected --input to name {expected}, received {folder}.")
        kinds = with_removal(CONJUGATES, options)
        conjugate = options.conjugate or kinds[0]
        if conjugate not in kinds:
            raise UsageError(
                "Hollywood2's clips have no borders in time and no masks: expected --conjugate="
                f"{', '.join(kinds)}, received {conjugate}."
            )
        files = videos_by_stem(os.path.join(folder, "AVIClips"))
        rows = []
        for split in SPLITS:
            for name, labels in read_clip_sets(sets, split).items():
                media = "AVIClips/" + files.get(name, f"{name}.avi")
                rows.append(Row(split, name, labels, media, line=len(rows) + 1))
        if not rows:
            fail(sets, f"expected {ACTIONS[0]}_train.txt and the lists beside it, received none")
        check_links(folder, (row.media for row in rows), options.data_root)
        paths = {row.media: os.path.join(folder, row.media) for row in rows}
        missing = sum(row.id not in files for row in rows)
        if missing:
            self.remarks = (
                f"{missing} of {len(rows)} clips are not in {os.path.join(folder, 'AVIClips')}; "
                "skipped.csv names them.",
            )
        if conjugate == "negative_clip":
            rows = _with_negatives(rows, files)
        options = replace(options, multi_label=True)
        super().__init__(options, rows, paths, ordered_labels(options, ACTIONS), conjugate)


def _with_negatives(rows: list[Row], files: dict[str, str]) -> list[Row]:
    """Gives each clip of an action one of no action of the same split that is on disk."""
    negatives = defaultdict(list)
    for row in rows:
        if not row.labels and row.id in files:
            negatives[row.split].append(row.media)
    return [
        replace(row, conjugate_media=draw(row.id, negatives[row.split]))
        if row.labels and negatives[row.split]
        else row
        for row in rows
    ]


def read_clip_sets(folder: str, split: str) -> dict[str, tuple[str, ...]]:
    """Maps clips to their actions by the twelve lists of a split; empty if there is none.

    Raises:
        UsageError: If a list is missing, a line is not `name  1|-1`, or lists name other clips.
    """
    lists = {action: os.path.join(folder, f"{action}_{split}.txt") for action in ACTIONS}
    if not any(map(os.path.isfile, lists.values())):
        return {}
    clips: dict[str, list[str]] = {}
    for action, path in lists.items():
        shown = _read_list(path)
        if not clips:
            clips = {name: [] for name in shown}
        for name in sorted(clips.keys() ^ shown.keys()):
            fail(path, f"expected the clips of {ACTIONS[0]}_{split}.txt, received others ({name})")
        for name, positive in shown.items():
            if positive:
                clips[name].append(action)
    return {name: tuple(actions) for name, actions in clips.items()}


def _read_list(path: str) -> dict[str, bool]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise UsageError(f"Expected a list of clips at {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"Expected a list of clips in UTF-8 at {path}: {error}.") from error
    shown = {}
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if cells and (len(cells) != 2 or cells[1] not in ("1", "-1")):
            fail(f"{path}, line {number}", f"expected a clip and 1 or -1, received {line!r}")
        if cells and shown.setdefault(cells[0], cells[1] == "1") != (cells[1] == "1"):
            fail(f"{path}, line {number}", f"expected {cells[0]} once, received it as 1 and as -1")
    if not shown:
        fail(path, "expected a clip a line, received none")
    return shown
