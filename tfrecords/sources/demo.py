"""Draws the demo's videos, 'actions in context', with ground truth for the maps.

The class is in the actor's MOTION alone; its shape, colours, size, place, phase and period are
random. Scenes have a palette, a texture and static objects of their own, and in the biased splits
nine clips in ten play in the scene of their class, so that a classifier can cheat. One or two
bystanders look like the actor but stand or walk; the camera pans slightly; there is noise. In the
conjugate the same scene, objects, bystanders and camera come back with the actor absent (half of
them) or idling (half). Every clip is a pure function of (seed, split, index).
"""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from tfrecords.records.clip_pair import ClipPair
from tfrecords.sources.base import Row, Source, SourceOptions
from tfrecords.sources.drawing import Motion, Movement, Scene, Texture, draw

# Clips a split, and how often the scene is that of the class: 0 is never, None is independence.
SPLITS = {
    "train": (1500, 0.9),
    "validation": (360, 0.9),
    "test": (360, 0.9),
    "test_uniform": (480, None),
    "test_anti": (360, 0.0),
}
FPS = 12.0
MOTIONS: dict[str, Motion] = {
    "circle": lambda phase, reach, rng: Movement(
        dx=reach * np.cos(phase), dy=reach * np.sin(phase)
    ),
    "jump": lambda phase, reach, rng: Movement(dy=-1.5 * reach * np.abs(np.sin(phase / 2))),
    "pulse": lambda phase, reach, rng: Movement(scale=1 + 0.38 * np.sin(phase)),
    "spin": lambda phase, reach, rng: Movement(turn=phase * rng.choice([-1, 1])),
    "to_and_fro": lambda phase, reach, rng: Movement(dx=reach * np.sin(phase)),
    "wave": lambda phase, reach, rng: Movement(swing=1.1 * np.sin(phase)),
}
LABELS = list(MOTIONS)


def _grid(t: Texture) -> np.ndarray:
    return np.sin(t.wave * t.x + t.shift[0]) * np.sin(t.wave * t.y + t.shift[1])


def _checks(t: Texture) -> np.ndarray:
    columns, rows = np.sin(t.wave * t.x + t.shift[0]), np.sin(t.wave * t.y + t.shift[1])
    return np.sign(columns) * np.sign(rows)


# In the order of MOTIONS: the scene of a class is the one in its place.
SCENES = (
    Scene(
        (196, 170, 112),
        (226, 204, 150),
        (120, 84, 50),
        lambda t: np.sin(t.wave * t.y + t.shift[0]),
        round_things=False,
    ),
    Scene((52, 104, 58), (84, 142, 74), (118, 60, 40), _grid, round_things=True),
    Scene((70, 96, 150), (112, 142, 190), (210, 210, 220), lambda t: t.cloud, round_things=False),
    Scene((112, 112, 118), (150, 148, 150), (60, 58, 66), _checks, round_things=True),
    Scene(
        (132, 62, 74),
        (176, 96, 96),
        (230, 180, 90),
        lambda t: np.sin(t.wave * (t.x + t.y) + t.shift[0]),
        round_things=False,
    ),
    Scene(
        (86, 60, 120),
        (126, 98, 160),
        (60, 170, 160),
        lambda t: np.sin(t.wave * t.x + t.shift[0] + t.cloud),
        round_things=True,
    ),
)


def make_pair(
    split: str,
    index: int,
    seed: int = 0,
    *,
    motions: Mapping[str, Motion] = MOTIONS,
    scenes: Sequence[Scene] = SCENES,
    acting: float = 1.0,
) -> ClipPair:
    """Draws one clip with its conjugate (train, validation) or its mask (validation, test).

    Args:
        split: Split, a key of SPLITS.
        index: Index in the split; classes take turns.
        seed: Seed; another one makes another data set of the same kind.
        motions: Label -> action.
        scenes: Scenes, at least as many as motions; class i plays in scene i.
        acting: Share of the frames in which the actor acts, see `draw`.

    Returns:
        A pair of uint8 `[12, 48, 48, 3]` at 12 frames a second.
    """
    rng = np.random.default_rng([seed, sorted(SPLITS).index(split), index])
    label = index % len(motions)
    bias = SPLITS[split][1]
    scene = _draw_scene_id(rng, label, 1 / len(scenes) if bias is None else bias, len(scenes))
    name = list(motions)[label]
    paired = split in ("train", "validation")
    drawing = draw(rng, motions[name], scenes[scene], acting, conjugate=paired)
    return ClipPair(
        id=f"{split}-{index:05d}",
        clip=drawing.clip,
        conjugate=drawing.conjugate,
        labels=(name,),
        fps=FPS,
        # The action is where the actor is while it acts. Training must not see that, so its records
        # do not say.
        mask=None if split == "train" else drawing.mask & drawing.acts[:, None, None],
    )


class DemoSource(Source):
    """The source `demo` of the build: no input, the five splits of SPLITS."""

    name = "demo"
    conjugate = "given"
    image_format = "PNG"

    def __init__(self, options: SourceOptions):
        super().__init__(options)
        self.labels = list(LABELS)

    def rows(self) -> list[Row]:
        """Returns one row per clip of every split, in order; `line` is its index in the split."""
        return [
            Row(
                split=split,
                id=f"{split}-{index:05d}",
                labels=(LABELS[index % len(LABELS)],),
                media=f"demo/{split}/{index:05d}",
                line=index,
            )
            for split, (clips, _) in SPLITS.items()
            for index in range(clips)
        ]

    def load(self, row: Row) -> ClipPair:
        """Draws the clip of a row."""
        return make_pair(row.split, row.line)


def _draw_scene_id(rng: np.random.Generator, label: int, bias: float, count: int) -> int:
    """Draws the scene of a clip: that of its label with the probability `bias`, else another."""
    if rng.random() < bias:
        return label
    return int((label + rng.integers(1, count)) % count)
