"""Worlds like the demo's: 12 motions and 12 scenes, and actors that act for a part of the clip.

The first six motions and scenes are the demo's; six more of each are here. A world of six of each,
acting all the time, is the demo's own data, clip for clip.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import numpy as np

from tfrecords.records.clip_pair import ClipPair
from tfrecords.records.dataset import INFO_FILE
from tfrecords.records.writer import write_dataset
from tfrecords.sources import demo
from tfrecords.sources.drawing import Motion, Movement, Scene, Texture
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.progress import progress


def _diagonal(phase: np.ndarray, reach: float, rng: np.random.Generator) -> Movement:
    way = 0.8 * reach * np.sin(phase)
    return Movement(dx=way * rng.choice([-1, 1]), dy=way)


def _figure_eight(phase: np.ndarray, reach: float, rng: np.random.Generator) -> Movement:
    # Half as fast as the others: at full speed its height would swing once in two or three frames.
    return Movement(dx=1.2 * reach * np.sin(phase / 2), dy=0.8 * reach * np.sin(phase))


def _corkscrew(phase: np.ndarray, reach: float, rng: np.random.Generator) -> Movement:
    return Movement(turn=phase * rng.choice([-1, 1]), scale=1 + 0.38 * np.sin(phase))


def _rock(phase: np.ndarray, reach: float, rng: np.random.Generator) -> Movement:
    return Movement(turn=0.9 * np.sin(phase))


def _squash(phase: np.ndarray, reach: float, rng: np.random.Generator) -> Movement:
    return Movement(stretch=np.exp(0.45 * np.sin(phase)))


def _sway(phase: np.ndarray, reach: float, rng: np.random.Generator) -> Movement:
    swing = np.sin(phase)
    return Movement(dx=reach * swing, turn=0.9 * rng.choice([-1, 1]) * swing)


def _rings(t: Texture) -> np.ndarray:
    # Around a point near the middle that differs from clip to clip.
    middle = t.x.mean() + 4 * (t.shift - np.pi)
    return np.sin(t.wave * np.hypot(t.x - middle[0], t.y - middle[1]))


def _dots(t: Texture) -> np.ndarray:
    hills = np.cos(t.wave * t.x + t.shift[0]) + np.cos(t.wave * t.y + t.shift[1])
    return np.where(hills > 0.9, 1.0, -1.0)


def _bricks(t: Texture) -> np.ndarray:
    row = t.wave * t.y / np.pi + t.shift[1]
    column = t.wave * t.x / (2 * np.pi) + t.shift[0] + 0.5 * (np.floor(row) % 2)
    return np.where((row % 1 < 0.25) | (column % 1 < 0.15), 1.0, -1.0)


def _chevrons(t: Texture) -> np.ndarray:
    teeth = np.abs((t.x / 6 + t.shift[1]) % 2 - 1)
    return np.sin(t.wave * t.y + t.shift[0] + 4 * teeth)


def _planks(t: Texture) -> np.ndarray:
    return np.where((t.wave * t.x + t.shift[0]) % (2 * np.pi) < 1.2, 1.0, -1.0)


def _spots(t: Texture) -> np.ndarray:
    return np.sign(t.cloud - 0.5)


MOTIONS: dict[str, Motion] = {
    **demo.MOTIONS,
    "corkscrew": _corkscrew,
    "diagonal": _diagonal,
    "figure_eight": _figure_eight,
    "rock": _rock,
    "squash": _squash,
    "sway": _sway,
}
SCENES = (
    *demo.SCENES,
    Scene((214, 120, 40), (240, 164, 84), (70, 50, 120), _rings, round_things=True),
    Scene((226, 148, 172), (250, 206, 214), (90, 140, 90), _dots, round_things=False),
    Scene((20, 118, 120), (84, 170, 158), (240, 120, 100), _bricks, round_things=True),
    Scene((146, 156, 36), (196, 200, 84), (70, 40, 20), _chevrons, round_things=False),
    Scene((224, 228, 234), (180, 196, 212), (60, 90, 130), _planks, round_things=True),
    Scene((24, 28, 46), (56, 64, 96), (230, 220, 150), _spots, round_things=False),
)


def write(
    directory: StrPath,
    classes: int = 12,
    scenes: int = 12,
    acting: float = 1.0,
    pairs_per_class: int = 250,
    seed: int = 0,
) -> Path:
    """Writes a world as a data set with the demo's splits; one that is finished is left as it is.

    Args:
        directory: Directory to write.
        classes: Number of MOTIONS.
        scenes: Number of SCENES, at least as many as classes.
        acting: share of the frames in which the actor acts, one stretch at a random time; before
            and after it holds its pose. The mask is where the actor is while it acts.
        pairs_per_class: clips of `train`; the other splits have the demo's number a class.
        seed: another seed is another world of the same kind.

    Returns:
        The directory.

    Raises:
        ValueError: there are not that many motions or scenes, or more classes than scenes.
    """
    if not (2 <= classes <= len(MOTIONS) and classes <= scenes <= len(SCENES)):
        raise ValueError(
            f"Expected 2 <= classes <= {len(MOTIONS)} and classes <= scenes <= {len(SCENES)}. "
            f"Received {classes} and {scenes}."
        )
    directory = Path(directory)
    if (directory / INFO_FILE).is_file():
        return directory
    motions = dict(list(MOTIONS.items())[:classes])
    each = {split: clips // len(demo.LABELS) for split, (clips, _) in demo.SPLITS.items()}
    each["train"] = pairs_per_class
    counts = {split: classes * clips for split, clips in each.items()}
    with progress(total=sum(counts.values()), desc=directory.name, unit="clip", leave=False) as bar:

        def clips(split: str) -> Iterator[ClipPair]:
            for index in range(counts[split]):
                yield demo.make_pair(
                    split, index, seed, motions=motions, scenes=SCENES[:scenes], acting=acting
                )
                bar.update()

        splits = {split: clips(split) for split in counts}
        write_dataset(directory, splits, list(motions), source=Path(__file__).stem)
    return directory
