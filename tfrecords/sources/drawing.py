"""Draws an actor's motion in a scene: the clip, its conjugate and where the actor is.

The demo (`tfrecords.sources.demo`) and the worlds of the benchmarks are made of it. A motion and a
scene are given; the actor's shape, colours, size, place, phase and period, the bystanders, objects
and camera are random.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, NamedTuple, Optional, Union

import cv2
import numpy as np

FRAMES, SIZE = 12, 48
_PAD = 8  # pixels of scene beyond each border, for the pan
_SHAPES = ("bar", "ellipse", "triangle", "cross")
Values = Union[float, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Movement:
    """The motion of a figure; each field is a number or one per frame, [T].

    Attributes:
        dx, dy: Displacement in pixels, right and down.
        turn: Rotation of the whole figure in radians.
        scale: Factor of its size.
        stretch: Factor of its width; its height shrinks by the same.
        swing: Rotation of the limb against the body in radians.
    """

    dx: Values = 0.0
    dy: Values = 0.0
    turn: Values = 0.0
    scale: Values = 1.0
    stretch: Values = 1.0
    swing: Values = 0.0


# (phase [T], which advances by 2 pi a period; reach, pixels; random numbers) -> the action
Motion = Callable[[np.ndarray, float, np.random.Generator], Movement]


class Texture(NamedTuple):
    """Inputs of the pattern of a scene; `x`, `y` and `cloud` [H, W], in pixels.

    `wave` is 2 pi over the pattern's width, `shift` two random phases, `cloud` smooth noise of
    deviation about 1.
    """

    x: np.ndarray
    y: np.ndarray
    wave: float
    shift: np.ndarray
    cloud: np.ndarray


@dataclasses.dataclass(frozen=True)
class Scene:
    """A kind of place: three colours (RGB, of ground, texture and objects) and their pattern.

    Attributes:
        ground, texture, things: Colours; each clip's differ a little.
        pattern: Function that gives the pattern: -1 is ground, 1 is texture.
        round_things: Whether the objects are ellipses; rectangles otherwise.
    """

    ground: tuple[int, int, int]
    texture: tuple[int, int, int]
    things: tuple[int, int, int]
    pattern: Callable[[Texture], np.ndarray]
    round_things: bool


class Drawing(NamedTuple):
    """A drawn clip.

    Attributes:
        clip: Frames, uint8 [T, H, W, 3].
        conjugate: The same without the action; None if not requested.
        mask: Map of the actor, acting or not, bool [T, H, W].
        acts: Whether the actor acts between the previous frame and this one, bool [T].
    """

    clip: np.ndarray
    conjugate: Optional[np.ndarray]
    mask: np.ndarray
    acts: np.ndarray


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


def draw(
    rng: np.random.Generator,
    motion: Motion,
    scene: Scene,
    acting: float = 1.0,
    conjugate: bool = True,
) -> Drawing:
    """Draws a motion in a scene; all else is random.

    Args:
        rng: Generator of all random numbers; its state decides the drawing.
        motion: Motion of the actor.
        scene: Scene in which it plays.
        acting: Share of the frames in which the actor acts, default 1; below, they are one stretch
            at a random time, before and after which it holds its pose.
        conjugate: Whether to draw the conjugate, default True; the clip is the same either way.
    """
    background = _background(rng, scene)
    figures = _place_figures(rng, 1 + int(rng.integers(1, 3)))
    actor, bystanders = figures[0], figures[1:]
    movements = [_walk(rng) if rng.random() < 0.5 else Movement() for _ in bystanders]
    period, phase = rng.uniform(4.0, 7.0), rng.uniform(0, 2 * np.pi)
    steps, acts = _acting_steps(rng, acting)
    reach = rng.uniform(3.0, 5.0)
    action = motion(2 * np.pi * steps / period + phase, reach, rng)
    idles = rng.random() < 0.5

    # Far figures first: whoever stands lower in the picture is nearer and hides the others.
    others = [
        layer
        for figure, movement in sorted(zip(bystanders, movements), key=lambda item: item[0].y)
        for layer in _figure_layers(figure, movement)
    ]
    acting_layers = _figure_layers(actor, action)
    clip = _paint(background, others + acting_layers)
    noise = rng.standard_normal((2, *clip.shape), np.float32) * 5.0
    still = None
    if conjugate:
        resting = _figure_layers(actor, Movement()) if idles else []
        still = _to_uint8(_paint(background, others + resting) + noise[1])
    mask = np.any([alpha > 0.5 for alpha, _ in acting_layers], axis=0)
    return Drawing(_to_uint8(clip + noise[0]), still, mask, acts)


def _acting_steps(rng: np.random.Generator, acting: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the actor's own time in frames, frozen while it does not act, and when it acts.

    Frozen time keeps every motion continuous where the actor starts and stops.
    """
    frames = np.arange(FRAMES)
    if acting >= 1:
        return frames, np.ones(FRAMES, bool)
    length = max(1, round(acting * FRAMES))
    before = int(rng.integers(FRAMES - length))
    return np.clip(frames - before, 0, length), (frames > before) & (frames <= before + length)


def _background(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """Draws the scene under a slowly panning camera: float32 [T, H, W, 3]."""
    size = SIZE + 2 * _PAD
    colors = np.array([scene.ground, scene.texture, scene.things], np.float32)
    ground, texture, thing = colors + rng.normal(0, 10, (3, 3)).astype(np.float32)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    wave = 2 * np.pi / rng.uniform(7, 11)
    shift = rng.uniform(0, 2 * np.pi, 2)
    coarse = rng.normal(0, 1, (9, 9)).astype(np.float32)
    cloud = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    pattern = scene.pattern(Texture(x, y, wave, shift, cloud))
    amount = np.clip(0.5 + 0.5 * pattern + 0.15 * cloud, 0, 1)[..., None]
    canvas = ground + (texture - ground) * amount
    for _ in range(int(rng.integers(2, 5))):
        center = tuple(int(v) for v in rng.uniform(4, size - 4, 2))
        half = [int(v) for v in rng.uniform(2, 6, 2)]
        color = tuple(float(v) for v in thing + rng.normal(0, 12, 3))
        if scene.round_things:
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


def _walk(rng: np.random.Generator) -> Movement:
    direction, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.1)
    way = speed * (np.arange(FRAMES) - FRAMES / 2)
    return Movement(dx=way * np.cos(direction), dy=way * np.sin(direction))


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


def _figure_layers(figure: _Figure, movement: Movement) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns coverage [T, H, W] and colour of the limb, the body and the band across it."""
    grid = np.arange(SIZE, dtype=np.float32)
    stretch = _by_frame(movement.stretch)
    dx = (grid[None, None, :] - _by_frame(figure.x + movement.dx)) / stretch
    dy = (grid[None, :, None] - _by_frame(figure.y + movement.dy)) * stretch
    u, v = _rotate(dx, dy, figure.angle + movement.turn)
    radius = _by_frame(figure.radius * movement.scale)
    distance = _shape_distance(figure, u, v, radius)
    body = np.clip(0.5 - distance, 0, 1)
    band = body * np.clip(0.5 - (np.abs(u - 0.35 * radius) - 0.22 * radius), 0, 1)
    # The limb turns with the body, so that only its own swing is a wave.
    along, across = _rotate(dx, dy, figure.limb + movement.turn + movement.swing)
    length = 1.6 * radius
    gap = np.maximum(np.abs(along - length / 2) - length / 2, np.abs(across) - 1.2)
    limb = np.clip(0.5 - gap, 0, 1)
    return [(limb, figure.colors[1]), (body, figure.colors[0]), (band, figure.colors[1])]


def _shape_distance(
    figure: _Figure, u: np.ndarray, v: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Returns the signed distance to the outline of the body, in pixels, approximately."""
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


def _by_frame(values: Values) -> np.ndarray:
    """Broadcasts to one value per frame, float32 [T, 1, 1]."""
    return np.broadcast_to(np.float32(values), (FRAMES,))[:, None, None]


def _rotate(x: np.ndarray, y: np.ndarray, angle: Values) -> tuple[np.ndarray, np.ndarray]:
    angle = np.broadcast_to(angle, (FRAMES,))[:, None, None]
    cos, sin = np.cos(angle, dtype=np.float32), np.sin(angle, dtype=np.float32)
    return x * cos + y * sin, y * cos - x * sin


def _to_uint8(frames: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)
