"""The demo's videos, drawn by the program: 'actions in context', with ground truth for the maps.

The class is in the actor's MOTION alone; its shape, colours, size, place, phase and period are
random. Scenes have a palette, a texture and static objects of their own, and in the biased splits
nine clips in ten play in the scene of their class, so that a classifier can cheat. One or two
bystanders look like the actor but stand or walk; the camera pans slightly; there is noise. In the
conjugate the same scene, objects, bystanders and camera come back with the actor absent (half of
them) or idling (half). Every clip is a pure function of (seed, split, index).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np

from tfrecords.schema import ClipPair
from tfrecords.sources import Row, Source, SourceOptions

LABELS = ["circle", "jump", "pulse", "spin", "to_and_fro", "wave"]
# How often the scene is that of the class: None is never, 1 / 6 is independence.
SPLITS = {
    "train": (1500, 0.9),
    "validation": (360, 0.9),
    "test": (360, 0.9),
    "test_uniform": (480, 1 / 6),
    "test_anti": (360, 0.0),
}
FRAMES, SIZE, FPS = 12, 48, 12.0
_PAD = 8  # pixels of scene beyond each border, for the pan
_SHAPES = ("bar", "ellipse", "triangle", "cross")
# Three colours a scene: ground, texture, objects (RGB).
_PALETTES = np.array(
    [
        [[196, 170, 112], [226, 204, 150], [120, 84, 50]],
        [[52, 104, 58], [84, 142, 74], [118, 60, 40]],
        [[70, 96, 150], [112, 142, 190], [210, 210, 220]],
        [[112, 112, 118], [150, 148, 150], [60, 58, 66]],
        [[132, 62, 74], [176, 96, 96], [230, 180, 90]],
        [[86, 60, 120], [126, 98, 160], [60, 170, 160]],
    ],
    np.float32,
)


@dataclasses.dataclass(frozen=True)
class _Figure:
    """A person's stand-in: how it looks and where it stands (pixels)."""

    shape: str
    radius: float
    aspect: float
    angle: float
    colors: np.ndarray  # [2, 3], body and band
    x: float
    y: float
    limb: float  # direction of the limb, radians


def make_pair(split: str, index: int, seed: int = 0) -> ClipPair:
    """Draws one clip with its conjugate (train, validation) or its mask (validation, test).

    Args:
        split: a key of SPLITS.
        index: place in the split; classes take turns.
        seed: another seed is another data set of the same kind.

    Returns:
        A pair of uint8 `[12, 48, 48, 3]` at 12 frames a second.
    """
    rng = np.random.default_rng([seed, sorted(SPLITS).index(split), index])
    label = index % len(LABELS)
    scene = _draw_scene_id(rng, label, SPLITS[split][1])
    background = _background(rng, scene)
    figures = _place_figures(rng, 1 + int(rng.integers(1, 3)))
    actor, bystanders = figures[0], figures[1:]
    motions = [_walk(rng) if rng.random() < 0.5 else _idle() for _ in bystanders]
    period, phase = rng.uniform(4.0, 7.0), rng.uniform(0, 2 * np.pi)
    action = _act(LABELS[label], actor, 2 * np.pi * np.arange(FRAMES) / period + phase, rng)
    idles = rng.random() < 0.5

    # Far figures first: whoever stands lower in the picture is nearer and hides the others.
    others = [
        layer
        for figure, motion in sorted(zip(bystanders, motions), key=lambda item: item[0].y)
        for layer in _figure_layers(figure, motion)
    ]
    acting = _figure_layers(actor, action)
    clip = _paint(background, others + acting)
    mask = np.any([alpha > 0.5 for alpha, _ in acting], axis=0)
    still = None
    if split in ("train", "validation"):
        resting = _figure_layers(actor, _idle()) if idles else []
        still = _paint(background, others + resting)
    noise = rng.standard_normal((2, *clip.shape), np.float32) * 5.0
    return ClipPair(
        id=f"{split}-{index:05d}",
        clip=_to_uint8(clip + noise[0]),
        conjugate=None if still is None else _to_uint8(still + noise[1]),
        labels=(LABELS[label],),
        fps=FPS,
        # Training must not see where the actor is, so its records do not say.
        mask=None if split == "train" else mask,
    )


class DemoSource(Source):
    """The source `demo` of the build: no input, the five splits of SPLITS."""

    name = "demo"
    conjugate = "given"
    image_format = "PNG"

    def __init__(self, options: SourceOptions):
        self.labels = list(LABELS)

    def rows(self) -> list[Row]:
        """One row a clip of every split, in order; `line` is its place in the split."""
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


def _draw_scene_id(rng: np.random.Generator, label: int, bias: float) -> int:
    if rng.random() < bias:
        return label
    return int((label + rng.integers(1, len(LABELS))) % len(LABELS))


def _background(rng: np.random.Generator, scene: int) -> np.ndarray:
    """The scene under a slowly panning camera: float32 [T, H, W, 3]."""
    size = SIZE + 2 * _PAD
    ground, texture, thing = _PALETTES[scene] + rng.normal(0, 10, (3, 3)).astype(np.float32)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    wave = 2 * np.pi / rng.uniform(7, 11)
    shift = rng.uniform(0, 2 * np.pi, 2)
    coarse = rng.normal(0, 1, (9, 9)).astype(np.float32)
    cloud = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    patterns = [
        np.sin(wave * y + shift[0]),
        np.sin(wave * x + shift[0]) * np.sin(wave * y + shift[1]),
        cloud,
        np.sign(np.sin(wave * x + shift[0])) * np.sign(np.sin(wave * y + shift[1])),
        np.sin(wave * (x + y) + shift[0]),
        np.sin(wave * x + shift[0] + cloud),
    ]
    amount = np.clip(0.5 + 0.5 * patterns[scene] + 0.15 * cloud, 0, 1)[..., None]
    canvas = ground + (texture - ground) * amount
    for _ in range(int(rng.integers(2, 5))):
        center = tuple(int(v) for v in rng.uniform(4, size - 4, 2))
        half = [int(v) for v in rng.uniform(2, 6, 2)]
        color = tuple(float(v) for v in thing + rng.normal(0, 12, 3))
        if scene % 2:
            cv2.ellipse(canvas, center, half, 0, 0, 360, color, -1, cv2.LINE_AA)
        else:
            corner = [c - h for c, h in zip(center, half)]
            cv2.rectangle(canvas, corner, [c + h for c, h in zip(center, half)], color, -1)
    start, speed = rng.uniform(-2, 2, 2), rng.uniform(-0.35, 0.35, 2)
    frames = []
    for t in range(FRAMES):
        dx, dy = _PAD + start + speed * t
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frames.append(cv2.warpAffine(canvas, move, (SIZE, SIZE), flags=flags))
    return np.stack(frames)


def _place_figures(rng: np.random.Generator, count: int) -> list[_Figure]:
    """Figures well apart from each other, so that the actor is not hidden all the time."""
    figures: list[_Figure] = []
    while len(figures) < count:
        x, y = rng.uniform(10, SIZE - 10, 2)
        for _ in range(20):
            if all(np.hypot(x - f.x, y - f.y) > 14 for f in figures):
                break
            x, y = rng.uniform(10, SIZE - 10, 2)
        figures.append(
            _Figure(
                shape=_SHAPES[rng.integers(len(_SHAPES))],
                radius=rng.uniform(4.5, 6.5),
                aspect=rng.uniform(0.45, 0.7),
                angle=rng.uniform(0, 2 * np.pi),
                colors=rng.uniform(0, 255, (2, 3)).astype(np.float32),
                x=x,
                y=y,
                limb=rng.uniform(0, 2 * np.pi),
            )
        )
    return figures


def _motion(**changes: Any) -> dict[str, Any]:
    """Displacement (pixels), turn (radians), size (factor) and the limb's swing (radians) [T]."""
    still = np.zeros(FRAMES)
    return {"dx": still, "dy": still, "turn": still, "scale": still + 1, "swing": still, **changes}


def _idle() -> dict[str, Any]:
    return _motion()


def _walk(rng: np.random.Generator) -> dict[str, Any]:
    direction, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.1)
    way = speed * (np.arange(FRAMES) - FRAMES / 2)
    return _motion(dx=way * np.cos(direction), dy=way * np.sin(direction))


def _act(label: str, actor: _Figure, phase: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """The six actions; `phase` [T] advances by 2 pi a period."""
    reach = rng.uniform(3.0, 5.0)
    if label == "to_and_fro":
        return _motion(dx=reach * np.sin(phase))
    if label == "jump":
        return _motion(dy=-1.5 * reach * np.abs(np.sin(phase / 2)))
    if label == "circle":
        return _motion(dx=reach * np.cos(phase), dy=reach * np.sin(phase))
    if label == "spin":
        return _motion(turn=phase * rng.choice([-1, 1]))
    if label == "pulse":
        return _motion(scale=1 + 0.38 * np.sin(phase))
    return _motion(swing=1.1 * np.sin(phase))


def _paint(background: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Draws layers of (coverage, colour) over the scene, one after the other."""
    frames = background.copy()
    for alpha, color in layers:
        # Where the figure is; most of the picture is not.
        rows, columns = (np.flatnonzero(alpha.any(axis)) for axis in ((0, 2), (0, 1)))
        if not len(rows):
            continue
        box = np.s_[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        frames[box] += alpha[box][..., None] * (color - frames[box])
    return frames


def _figure_layers(figure: _Figure, motion: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Coverage [T, H, W] and colour of the limb, the body and the band across the body."""
    grid = np.arange(SIZE, dtype=np.float32)
    dx = grid[None, None, :] - (figure.x + motion["dx"])[:, None, None].astype(np.float32)
    dy = grid[None, :, None] - (figure.y + motion["dy"])[:, None, None].astype(np.float32)
    u, v = _rotate(dx, dy, figure.angle + motion["turn"])
    radius = (figure.radius * motion["scale"])[:, None, None].astype(np.float32)
    distance = _shape_distance(figure, u, v, radius)
    body = np.clip(0.5 - distance, 0, 1)
    band = body * np.clip(0.5 - (np.abs(u - 0.35 * radius) - 0.22 * radius), 0, 1)
    # The limb turns with the body, so that only its own swing is a wave.
    along, across = _rotate(dx, dy, figure.limb + motion["turn"] + motion["swing"])
    length = 1.6 * radius
    gap = np.maximum(np.abs(along - length / 2) - length / 2, np.abs(across) - 1.2)
    limb = np.clip(0.5 - gap, 0, 1)
    return [(limb, figure.colors[1]), (body, figure.colors[0]), (band, figure.colors[1])]


def _shape_distance(
    figure: _Figure, u: np.ndarray, v: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Signed distance (pixels, about) to the outline of the body."""
    short = figure.aspect * radius
    if figure.shape == "bar":
        return np.maximum(np.abs(u) - radius, np.abs(v) - short)
    if figure.shape == "ellipse":
        return (np.sqrt((u / radius) ** 2 + (v / short) ** 2) - 1) * short
    if figure.shape == "triangle":
        return np.maximum(-u - 0.6 * radius, 0.55 * u + 0.83 * np.abs(v) - 0.6 * radius)
    arm = 0.36 * radius
    return np.minimum(
        np.maximum(np.abs(u) - radius, np.abs(v) - arm),
        np.maximum(np.abs(v) - radius, np.abs(u) - arm),
    )


def _rotate(x: np.ndarray, y: np.ndarray, angle: Any) -> tuple[np.ndarray, np.ndarray]:
    angle = np.broadcast_to(angle, (FRAMES,))[:, None, None]
    cos, sin = np.cos(angle, dtype=np.float32), np.sin(angle, dtype=np.float32)
    return x * cos + y * sin, y * cos - x * sin


def _to_uint8(frames: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)
