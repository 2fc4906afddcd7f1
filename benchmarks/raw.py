"""Writes drawn videos and photographs as files, in the layouts in which people have theirs.

    python benchmarks/raw.py --output=raw

What docs/your_data.md shows is done with them. Videos are of the demo's motions and scenes
(`tfrecords.sources.demo`) at twice its size, photographs of the poses in `people`:

    raw/untrimmed/clips.csv      videos/000.mp4 of 5 s and in them an action, from 3 to 4
    raw/trimmed/CLASS/000.mp4    a second, the action alone
    raw/photographs/photographs.csv, 000.jpg, 000.npz (the mask of the person)
    raw/ucf101/                  lists and names as UCF101 has them
    raw/frames/CLASS/000/00001.png
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Callable, Sequence

import cv2
import numpy as np
from absl import flags

from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError
from tfrecords.utils.progress import progress

SIDE = 96  # pixels of a video
TESTED = 3  # every third group of the layout of UCF101 is of the test


def write_untrimmed(folder: Path, clips: int) -> None:
    """Writes videos in which the scene goes on before and after the action, and their table."""
    from aacf_tf.attend.overlay import write_video
    from tfrecords.sources import demo

    (folder / "videos").mkdir(parents=True)
    rows = []
    for n in range(clips):
        pair = demo.make_pair("train", n)
        assert pair.conjugate is not None
        # To and fro, so that the scene does not jump.
        calm = [pair.conjugate[::-1], pair.conjugate, pair.conjugate[::-1]]
        film = np.concatenate([*calm, pair.clip, pair.conjugate[::-1]])
        start = 3 * len(pair.clip) / demo.FPS
        rows.append(
            (f"videos/{n:03}.mp4", pair.labels[0], start, start + len(pair.clip) / demo.FPS)
        )
        write_video(folder / rows[-1][0], map(_enlarge, film), demo.FPS)
    _write_table(folder / "clips.csv", ("video", "label", "start", "end"), rows)


def write_trimmed(folder: Path, clips: int) -> None:
    """Writes a folder of clips for each class."""
    from aacf_tf.attend.overlay import write_video
    from tfrecords.sources import demo

    for n in range(clips):
        pair = demo.make_pair("train", n)
        path = folder / pair.labels[0] / f"{n:03}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, map(_enlarge, pair.clip), demo.FPS)


def write_photographs(folder: Path, clips: int) -> None:
    """Writes photographs with masks of the acting person, and their table."""
    from benchmarks.people import photograph

    folder.mkdir(parents=True)
    rows = []
    for n in range(clips):
        drawn = photograph("train", n)
        rows.append((f"{n:03}.jpg", drawn.label, f"{n:03}.npz"))
        _write_picture(folder / rows[-1][0], drawn.pixels)
        np.savez_compressed(folder / rows[-1][2], mask=drawn.actor[None])
    _write_table(folder / "photographs.csv", ("video", "label", "mask"), rows)


def write_ucf101(folder: Path, clips: int) -> None:
    """Writes clips and lists as UCF101 has them, three clips a group, some groups to test."""
    from aacf_tf.attend.overlay import write_video
    from tfrecords.sources import demo

    lists: dict[str, list[str]] = {"train": [], "test": []}
    for n in range(clips):
        pair = demo.make_pair("train", n)
        name = pair.labels[0].title().replace("_", "")
        group, number = divmod(n // len(demo.LABELS), 3)
        path = f"{name}/v_{name}_g{group + 1:02}_c{number + 1:02}.mp4"
        lists["train" if (group + 1) % TESTED else "test"].append(path)
        (folder / "UCF-101" / name).mkdir(parents=True, exist_ok=True)
        write_video(folder / "UCF-101" / path, map(_enlarge, pair.clip), demo.FPS)
    (folder / "ucfTrainTestlist").mkdir()
    for split, lines in lists.items():
        listed = folder / "ucfTrainTestlist" / f"{split}list01.txt"
        listed.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_frames(folder: Path, clips: int) -> None:
    """Writes a folder of frames for each clip, in a folder for each class."""
    from tfrecords.sources import demo

    for n in range(clips):
        pair = demo.make_pair("train", n)
        place = folder / pair.labels[0] / f"{n:03}"
        place.mkdir(parents=True)
        for number, frame in enumerate(pair.clip, 1):
            _write_picture(place / f"{number:05}.png", _enlarge(frame))


LAYOUTS: dict[str, Callable[[Path, int], None]] = {
    "untrimmed": write_untrimmed,
    "trimmed": write_trimmed,
    "photographs": write_photographs,
    "ucf101": write_ucf101,
    "frames": write_frames,
}


def define_flags() -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("output", "raw", "Folder to write, a new one.")
    flags.DEFINE_integer("clips", 120, "Clips, and photographs, in each layout.")
    flags.DEFINE_list("layouts", list(LAYOUTS), "Layouts to write, a,b,c.")


def main(arguments: Sequence[str]) -> None:
    """Runs the command; see the module's docstring."""
    root, layouts = Path(flags.FLAGS.output), flags.FLAGS.layouts
    if arguments or not set(layouts) <= set(LAYOUTS) or flags.FLAGS.clips < 1:
        raise UsageError(
            f"Expected --layouts among {', '.join(LAYOUTS)}, --clips of 1 or more and no other "
            f"arguments, received {','.join(layouts)}, {flags.FLAGS.clips} and {arguments}."
        )
    for name in layouts:
        if (root / name).exists():
            raise UsageError(f"Expected --output without {name}, received {root}, which has it.")
    for name in progress(layouts, desc=str(root), unit="layout", leave=False):
        LAYOUTS[name](root / name, flags.FLAGS.clips)
        print(f"{root / name}: {flags.FLAGS.clips}")


def _enlarge(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def _write_picture(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, quality=95)


def _write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


if __name__ == "__main__":
    define_flags()
    commandline.run(main, __doc__)
