"""Clips or photographs in a folder for each class.

    DIR/CLASS/clip.mp4            or DIR/SPLIT/CLASS/clip.mp4; photographs likewise
    DIR/CLASS/clip/00001.jpg      with --frames_fps: a folder of frames is a clip

Splits are train, validation and test, also by their usual other names (val, training); any other
name is one beside a folder train. Files of other kinds are passed over and counted.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from typing import Iterator

from tfrecords.media import images, video
from tfrecords.records.dataset import SPLIT_NAME
from tfrecords.sources.base import Row, SourceOptions, with_removal
from tfrecords.sources.lists.listed import SPLITS, WHOLE_FILES, Media
from tfrecords.sources.published.layout import fail, ordered_labels, require_local
from tfrecords.sources.table import normalize_label
from tfrecords.sources.videos import VideoSource
from tfrecords.utils.errors import UsageError

LAYOUT = "DIR/CLASS/clip.mp4 or DIR/SPLIT/CLASS/clip.mp4"


class FoldersSource(VideoSource):
    """The source `folders`; `options.input` is the folder."""

    name = "folders"
    takes_stills = True

    def __init__(self, options: SourceOptions):
        folder = require_local(options.input, "--input", "a folder with a folder a class")
        if not os.path.isdir(folder):
            raise UsageError(
                f"Expected --input to name a folder with a folder a class, received {folder}."
            )
        files, remarks = _list_files(folder, bool(options.frames_fps))
        photographs = [name for name in files if _is_photograph(folder, name)]
        if len(photographs) == len(files) and not options.stills:
            options = replace(options, stills=1)
        if not options.stills and photographs:
            remarks.append(
                f"{len(photographs)} photographs beside videos are passed over, such as "
                f"{photographs[0]}; --stills=1 makes photographs of the videos too."
            )
            files = [name for name in files if name not in set(photographs)]
        places = [name.split("/")[:-1] for name in files]
        depths = {len(place): name for name, place in zip(files, places)}
        if len(depths) > 1:
            names = " and ".join(depths[depth] for depth in sorted(depths))
            fail(folder, f"expected clips of one layout, {LAYOUT}, received {names}")
        divided = len(places[0]) == 2
        names = _splits(folder, {place[0] for place in places}) if divided else {}
        media = Media(options.data_root or folder, options.frames_fps)
        root = os.path.relpath(folder, options.data_root or folder)
        rows, paths = [], {}
        for line, (file, place) in enumerate(zip(files, places), 1):
            name = os.path.normpath(os.path.join(root, file)).replace(os.sep, "/")
            paths[name] = media.path(name)
            split = names[place[0]] if divided else "train"
            rows.append(Row(split, name, (normalize_label(place[-1]),), name, line=line))
        kinds = with_removal(("none", "auto") if options.stills else WHOLE_FILES, options)
        conjugate = options.conjugate or kinds[0]
        if conjugate not in kinds:
            raise UsageError(
                "Clips that are whole files, without masks (--people finds them), have nothing "
                f"before or after them: expected --conjugate={', '.join(kinds)}, received "
                f"{conjugate}."
            )
        if not divided and not options.make_splits:
            remarks.append("All clips are in the split train; --make_splits=70,15,15 divides them.")
        labels = ordered_labels(options, {label for row in rows for label in row.labels})
        splits = f"{folder}/SPLIT" if divided else ""
        super().__init__(options, rows, paths, labels, conjugate, splits)
        self.remarks = (*remarks, *self.remarks)


def _list_files(folder: str, frames: bool) -> tuple[list[str], list[str]]:
    """Returns (paths below a folder of clips and photographs, remarks).

    Raises:
        UsageError: There are none, or they lie too high or too deep.
    """
    files, others = [], []
    for name in _walk(folder, "", frames):
        extension = name.lower()
        known = extension.endswith((*video.EXTENSIONS, *images.EXTENSIONS))
        clip = known or os.path.isdir(os.path.join(folder, name))
        (files if clip else others).append(name)
    for name in files:
        if name.count("/") not in (1, 2):
            fail(folder, f"expected {LAYOUT}, received {name}")
    remarks = []
    if others:
        kinds = Counter(os.path.splitext(name)[1] for name in others)
        listed = ", ".join(f"{count} {kind or 'others'}" for kind, count in kinds.items())
        remarks.append(f"Files that are no videos or photographs are passed over: {listed}.")
    if not files:
        fail(folder, f"expected {LAYOUT}, received no video and no photograph")
    held = {os.path.dirname(name) for name in files}
    depth = max(name.count("/") for name in files)
    empty = [name for name in _folders(folder, "", depth) if name not in held]
    if empty:
        remarks.append(f"Folders without a clip: {', '.join(empty)}.")
    return files, remarks


def _walk(root: str, below: str, frames: bool, depth: int = 0) -> Iterator[str]:
    """Yields the files, and folders of frames, below a root, sorted; hidden ones are left out."""
    for name in sorted(os.listdir(os.path.join(root, below))):
        path = f"{below}/{name}" if below else name
        if name.startswith("."):
            continue
        whole = os.path.join(root, path)
        folder = os.path.isdir(whole)
        if not folder or (frames and any(map(images.is_photograph, os.listdir(whole)))):
            yield path
        elif depth < 4:  # a link may lead back up
            yield from _walk(root, path, frames, depth + 1)


def _folders(root: str, below: str, depth: int) -> Iterator[str]:
    """Yields the folders at a depth below a root."""
    for name in sorted(os.listdir(os.path.join(root, below))):
        path = f"{below}/{name}" if below else name
        if os.path.isdir(os.path.join(root, path)) and not name.startswith("."):
            if depth == 1:
                yield path
            else:
                yield from _folders(root, path, depth - 1)


def _is_photograph(folder: str, name: str) -> bool:
    return images.is_photograph(name) and not os.path.isdir(os.path.join(folder, name))


def _splits(folder: str, names: set[str]) -> dict[str, str]:
    """Maps the upper folders to splits.

    Raises:
        UsageError: They are no splits.
    """
    splits = {name: SPLITS.get(name.lower(), name.lower()) for name in sorted(names)}
    known = "train" in splits.values()
    for name, split in splits.items():
        if not SPLIT_NAME.fullmatch(split) or not (known or split in SPLITS.values()):
            fail(
                folder,
                f"expected {LAYOUT}, with SPLIT among train, validation, test (or any beside "
                f"train), received the folder {name}",
            )
    if len(set(splits.values())) < len(splits):
        fail(folder, f"expected one folder for each split, received {', '.join(splits)}")
    return splits
