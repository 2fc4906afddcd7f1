"""Draws photographs of people in poses, and makes the data set 'poses in context' of them.

The class is in the pose of one person alone, never in its colours, size, place or mirror image;
one or two bystanders stand about. Scenes are the demo's: a palette, a texture and static objects
each. In `train` and `test` nine photographs in ten are taken in the scene of their class. What is
held, kicked or sat on stands beside bystanders, too.

Conjugates are not drawn: they are made of the photograph as a user's are, the box of the acting
person filled by Telea and blended (`tfrecords.conjugates.erase`), with or without decoys.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Callable, Iterator, NamedTuple, Sequence

import cv2
import numpy as np

from tfrecords.conjugates.erase import BOX_MARGIN, Eraser, grow
from tfrecords.media.images import draw_boxes
from tfrecords.records.clip_pair import ClipPair
from tfrecords.records.dataset import INFO_FILE
from tfrecords.records.writer import write_dataset
from tfrecords.sources.demo import SCENES
from tfrecords.sources.drawing import Scene, Texture
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.progress import progress

# Photographs a split, and how often the scene is that of the class: 0 is never, None is
# independence.
SPLITS = {
    "train": (1500, 0.9),
    "test": (300, 0.9),
    "test_uniform": (300, None),
    "test_anti": (300, 0.0),
}
# Pixels. A few sizes each: for every shape that a network meets it makes itself ready anew.
HEIGHTS, WIDTHS = (96, 104, 112), (136, 148, 160)
STATURE = (52.0, 66.0)  # pixels, of a person who stands
# Lengths as shares of the stature.
TORSO, THIGH, SHIN, UPPER_ARM, FOREARM, HEAD = 0.30, 0.25, 0.24, 0.17, 0.16, 0.078
_FINER = 3  # drawn so many times larger, then averaged


@dataclasses.dataclass(frozen=True)
class Pose:
    """Directions of a figure's parts in degrees: 0 is down, 90 forward, 180 up.

    Attributes:
        torso: from hip to shoulder.
        arms: near and far: upper arm, forearm.
        legs: near and far: thigh, shin.
        prop: what belongs to it: "hands" or "foot" may have a crate or a ball there, "seat" needs
            one under the hip.
    """

    torso: float
    arms: tuple[tuple[float, float], tuple[float, float]]
    legs: tuple[tuple[float, float], tuple[float, float]]
    prop: str = ""


# In this order: the scene of a class is the one in its place.
POSES = {
    "cheering": Pose(180, ((150, 172), (-150, -172)), ((7, 3), (-7, -3))),
    "handstand": Pose(4, ((12, 4), (-10, -4)), ((204, 196), (156, 150))),
    "kicking": Pose(194, ((-48, -30), (58, 80)), ((88, 84), (-8, -14)), "foot"),
    "lifting": Pose(112, ((6, 14), (-2, 10)), ((16, -10), (2, -14)), "hands"),
    "running": Pose(166, ((-52, 36), (44, 118)), ((62, -14), (-32, -88))),
    "sitting": Pose(180, ((18, 70), (8, 60)), ((88, 2), (80, -8)), "seat"),
}
STANDING = Pose(180, ((9, 14), (-9, -2)), ((6, 3), (-6, -4)))
STROLLING = Pose(177, ((-18, -8), (18, 30)), ((18, 8), (-16, -24)))
LABELS = list(POSES)


class Photograph(NamedTuple):
    """A drawn photograph of H x W pixels.

    Attributes:
        pixels: uint8 [H, W, 3].
        actor: bool [H, W], the acting person with what it holds, kicks or sits on.
        bystanders: bool [H, W] each.
        label: Class of the pose.
        scene: number of the scene; that of the class has the class's number.
    """

    pixels: np.ndarray
    actor: np.ndarray
    bystanders: list[np.ndarray]
    label: str
    scene: int


class _Layer(NamedTuple):
    """Something drawn: float32 [H, W, 3] colour and float32 [H, W] coverage."""

    color: np.ndarray
    cover: np.ndarray


def photograph(split: str, index: int, seed: int = 0) -> Photograph:
    """Draws a photograph, a pure function of its arguments.

    Args:
        split: a key of SPLITS.
        index: place in the split; classes take turns.
        seed: another seed is another data set of the same kind.
    """
    rng = np.random.default_rng([seed, list(SPLITS).index(split), index])
    own = index % len(LABELS)
    bias = SPLITS[split][1]
    scene = own
    if rng.random() >= (1 / len(SCENES) if bias is None else bias):
        scene = int((own + rng.integers(1, len(SCENES))) % len(SCENES))
    size = int(rng.choice(HEIGHTS)), int(rng.choice(WIDTHS))
    canvas, horizon = _scenery(rng, SCENES[scene], size)
    figures = [_person(rng, POSES[LABELS[own]], size, horizon)]
    taken = figures[0].cover > 0
    for _ in range(int(rng.integers(1, 3))):
        pose = STANDING if rng.random() < 0.6 else STROLLING
        if rng.random() < 0.5:
            pose = dataclasses.replace(pose, prop=("hands", "foot", "beside")[rng.integers(3)])
        for _ in range(12):
            layer = _person(rng, pose, size, horizon)
            # Apart by some pixels: who stands in the actor's box would go with the actor.
            if not (grow(taken, 3) & (layer.cover > 0)).any():
                figures.append(layer)
                taken |= layer.cover > 0
                break
    # Who stands lower in the picture is nearer.
    order = sorted(range(len(figures)), key=lambda n: np.flatnonzero(figures[n].cover.any(1))[-1])
    for place in order:
        color, cover = figures[place]
        canvas += cover[..., None] * (color - canvas)
    canvas += rng.normal(0, 4.0, canvas.shape)
    masks = [figure.cover > 0.5 for figure in figures]
    pixels = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    return Photograph(pixels, masks[0], masks[1:], LABELS[own], scene)


def make_pair(split: str, index: int, eraser: Eraser, seed: int = 0) -> ClipPair:
    """A photograph, and its conjugate as the build makes it of the acting person's box.

    Only `train` gets decoys, where `eraser` makes them: tests are of untouched photographs.
    """
    drawn = photograph(split, index, seed)
    size = drawn.actor.shape
    boxes = box_of(drawn.actor)[None]
    people = np.concatenate([boxes, *(box_of(mask)[None] for mask in drawn.bystanders)])
    name = f"{split}-{index:05d}"
    picture, conjugate, decoy = eraser.pair(
        drawn.pixels,
        draw_boxes(boxes, size),
        BOX_MARGIN,
        draw_boxes(people, size) if split == "train" else None,
        f"{seed}/{name}",
    )
    return ClipPair(
        name,
        picture[None],
        None if conjugate is None else conjugate[None],
        (drawn.label,),
        fps=1.0,
        mask=drawn.actor[None],
        boxes=boxes,
        decoy=decoy,
    )


def write(directory: StrPath, decoys: bool = False, seed: int = 0) -> Path:
    """Writes the data set 'poses in context'; one that is finished is left as it is."""
    directory = Path(directory)
    if (directory / INFO_FILE).is_file():
        return directory
    eraser = Eraser(decoys=decoys)
    total = sum(count for count, _ in SPLITS.values())
    with progress(total=total, desc=str(directory), unit="photograph", leave=False) as bar:

        def pairs(split: str) -> Iterator[ClipPair]:
            for index in range(SPLITS[split][0]):
                yield make_pair(split, index, eraser, seed)
                bar.update()

        splits = {split: pairs(split) for split in SPLITS}
        write_dataset(directory, splits, LABELS, source=Path(__file__).stem)
    return directory


def box_of(mask: np.ndarray) -> np.ndarray:
    """The box around a mask [H, W]: xmin, ymin, xmax, ymax as shares, float32 [4]."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    corners = [columns[0] / width, rows[0] / height, columns[-1] + 1, rows[-1] + 1]
    return np.array([*corners[:2], corners[2] / width, corners[3] / height], np.float32)


# ---- scenes -------------------------------------------------------------------------------------


def _scenery(
    rng: np.random.Generator, scene: Scene, size: tuple[int, int]
) -> tuple[np.ndarray, int]:
    """Wall, floor and objects: float32 [H, W, 3]; and the row where the floor begins."""
    height, width = size
    horizon = int(height * rng.uniform(0.48, 0.68))
    colors = np.array([scene.ground, scene.texture, scene.things], np.float32)
    ground, texture, thing = colors + rng.normal(0, 10, (3, 3)).astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    coarse = rng.normal(0, 1, (10, 14)).astype(np.float32)
    cloud = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    wave, shift = 2 * np.pi / rng.uniform(11, 18), rng.uniform(0, 2 * np.pi, 2)
    wall = scene.pattern(Texture(x, y, wave, shift, cloud))
    floor = scene.pattern(Texture(0.6 * x, 1.6 * y, wave, shift[::-1], cloud))
    below = y >= horizon
    amount = np.clip(0.5 + 0.5 * np.where(below, floor, wall) + 0.15 * cloud, 0, 1)[..., None]
    canvas = (ground + (texture - ground) * amount) * np.where(below, 0.74, 1.0)[..., None]
    canvas[horizon : horizon + 2] *= 0.7
    for _ in range(int(rng.integers(2, 6))):
        _place_object(rng, canvas, thing, scene.round_things, horizon)
    light = 1 + rng.uniform(-0.2, 0.2) * (x / width - 0.5) + rng.uniform(-0.1, 0.1)
    return canvas * light[..., None], horizon


def _place_object(
    rng: np.random.Generator, canvas: np.ndarray, thing: np.ndarray, is_round: bool, horizon: int
) -> None:
    """Something that hangs on the wall or stands where the floor begins, lighter at its top."""
    half_width, half_height = (int(v) for v in rng.uniform(5, 13, 2))
    x = int(rng.uniform(0, canvas.shape[1]))
    y = horizon - half_height + 4 if rng.random() < 0.5 else int(rng.uniform(8, horizon - 12))
    color = thing + rng.normal(0, 14, 3)
    for factor, shrink in ((0.72, 0), (1.0, 2), (1.16, 4)):
        half = max(1, half_width - shrink), max(1, half_height - shrink)
        tone = tuple(float(v) for v in color * factor)
        if is_round:
            cv2.ellipse(canvas, (x, y - shrink // 2), half, 0, 0, 360, tone, -1, cv2.LINE_AA)
        else:
            corners = [(x + s * half[0], y + s * half[1] - shrink // 2) for s in (-1, 1)]
            cv2.rectangle(canvas, *corners, tone, -1)


# ---- people -------------------------------------------------------------------------------------


class _Pen:
    """Draws rounded parts with a lighter upper side on a finer grid, and keeps what they cover."""

    def __init__(self, size: tuple[int, int]):
        shape = size[0] * _FINER, size[1] * _FINER
        self._color = np.zeros((*shape, 3), np.float32)
        self._cover = np.zeros(shape, np.float32)

    def rod(self, points: Sequence[np.ndarray], width: float, color: np.ndarray) -> None:
        """A line of round ends through points (x, y), pixels; a single point is a disc."""
        for factor, share, offset in ((0.76, 1.0, 0.0), (1.0, 0.66, 0.13)):
            shift = np.array([-offset, -offset]) * width
            places = np.int32(np.rint((np.asarray(points) + shift) * _FINER * 8))
            thickness = max(1, round(width * share * _FINER))
            tone = tuple(float(v) for v in color * factor)
            for target, value in ((self._color, tone), (self._cover, 1.0)):
                if target is self._cover and factor == 1.0:
                    continue
                for start, end in zip(places, places[1:]):
                    cv2.line(target, start.tolist(), end.tolist(), value, thickness, shift=3)
                if len(places) == 1:
                    cv2.circle(target, places[0].tolist(), thickness * 4, value, -1, shift=3)

    def slab(self, corners: np.ndarray, color: np.ndarray) -> None:
        """A convex shape of corners [n, 2], its upper part lighter."""
        middle = corners.mean(0)
        for factor, share in ((0.76, 1.0), (1.0, 0.78)):
            inner = middle + (corners - middle) * share - (1 - share)
            places = np.int32(np.rint(inner * _FINER))
            tone = tuple(float(v) for v in color * factor)
            cv2.fillConvexPoly(self._color, places, tone)
        cv2.fillConvexPoly(self._cover, np.int32(np.rint(corners * _FINER)), 1.0)

    def layer(self, size: tuple[int, int]) -> _Layer:
        shape = size[1], size[0]
        cover = cv2.resize(self._cover, shape, interpolation=cv2.INTER_AREA)
        color = cv2.resize(self._color, shape, interpolation=cv2.INTER_AREA)
        # Colours were averaged with the nothing around them.
        return _Layer(color / np.maximum(cover, 1e-3)[..., None], cover)


def _person(rng: np.random.Generator, pose: Pose, size: tuple[int, int], horizon: int) -> _Layer:
    """A person of random stature, build, clothes, place and side, wholly in the picture."""
    stature, thick = rng.uniform(*STATURE), rng.uniform(0.9, 1.2)
    side = rng.choice([-1.0, 1.0])
    lean = rng.uniform(-5, 5)

    def step(start: np.ndarray, degrees: float, length: float) -> np.ndarray:
        angle = np.deg2rad(degrees + lean + rng.uniform(-8, 8))
        return start + stature * length * np.array([side * np.sin(angle), np.cos(angle)])

    hip = np.zeros(2)
    shoulder = step(hip, pose.torso, TORSO)
    head = shoulder + (shoulder - hip) / np.linalg.norm(shoulder - hip) * stature * 1.25 * HEAD
    arms = [_chain(step, shoulder, arm, (UPPER_ARM, FOREARM)) for arm in pose.arms]
    legs = [_chain(step, hip, leg, (THIGH, SHIN)) for leg in pose.legs]
    points = np.stack([hip, shoulder, head, *np.concatenate(arms), *np.concatenate(legs)])
    reach = 0.09 * stature
    low, high = points.min(0) - reach, points.max(0) + reach
    room = np.array([size[1], size[0]]) - (high - low)
    foot = rng.uniform(min(horizon + 6, size[0] - 4), size[0] - 2)
    corner = np.array([rng.uniform(0, room[0]), np.clip(foot - (high - low)[1], 0, room[1])])
    move = corner - low
    ground = (high + move)[1] - reach / 2

    skin = np.interp(rng.uniform(), [0, 1], [0.35, 1.0]) * np.array([238, 194, 160], np.float32)
    shirt, trousers = rng.uniform(20, 245, (2, 3))
    hair = rng.uniform(0.1, 1.0) * np.array([150, 110, 70], np.float32)
    shoes = rng.uniform(20, 90, 3)
    sleeve = shirt if rng.random() < 0.5 else skin
    limb, pen = 0.085 * stature * thick, _Pen(size)
    thing = rng.uniform(30, 235, 3)
    hip, shoulder, head = hip + move, shoulder + move, head + move
    arms, legs = ([chain + move for chain in chains] for chains in (arms, legs))

    if pose.prop == "seat":
        _draw_seat(pen, hip[0], hip[1] + 0.6 * limb, ground, 0.13 * stature, thing)
    elif pose.prop == "beside" and hip[0] > 0.3 * stature:
        _draw_seat(pen, hip[0] - 0.3 * stature, ground - 13, ground, 0.13 * stature, thing)
    for number, dark in ((1, 0.72), (0, 1.0)):  # the far limbs first
        leg, arm = legs[number], arms[number]
        if number == 0:
            _draw_body(pen, hip, shoulder, head, limb, shirt, skin, hair)
        pen.rod([leg[0], leg[1], leg[2]], 1.15 * limb, trousers * dark)
        toe = leg[2] + np.array([side * 0.06 * stature, 0])
        pen.rod([leg[2], toe], 0.85 * limb, shoes * dark)
        pen.rod([arm[0], arm[1]], 0.95 * limb, shirt * dark)
        pen.rod([arm[1], arm[2]], 0.8 * limb, sleeve * dark)
        pen.rod([arm[2]], 0.95 * limb, skin * dark)
    if pose.prop in ("hands", "foot") and rng.random() < 0.75:
        place = (arms[0][2] + arms[1][2]) / 2
        if pose.prop == "foot":
            place = legs[0][2] + np.array([side * 0.1, 0.02]) * stature
        _draw_carried(pen, place, 0.1 * stature, thing, rng.random() < 0.5)
    return pen.layer(size)


def _chain(
    step: Callable[[np.ndarray, float, float], np.ndarray],
    start: np.ndarray,
    angles: Sequence[float],
    lengths: Sequence[float],
) -> np.ndarray:
    """Joints of a limb from its root on, [3, 2]."""
    points = [start]
    for angle, length in zip(angles, lengths):
        points.append(step(points[-1], angle, length))
    return np.stack(points)


def _draw_body(
    pen: _Pen,
    hip: np.ndarray,
    shoulder: np.ndarray,
    head: np.ndarray,
    limb: float,
    shirt: np.ndarray,
    skin: np.ndarray,
    hair: np.ndarray,
) -> None:
    """Neck, trunk, head and hair."""
    along = (shoulder - hip) / np.linalg.norm(shoulder - hip)
    across = np.array([-along[1], along[0]])
    pen.rod([shoulder, head], 0.8 * limb, skin * 0.9)
    trunk = [hip - 0.75 * limb * across, hip + 0.75 * limb * across]
    trunk += [shoulder + 1.05 * limb * across, shoulder - 1.05 * limb * across]
    pen.slab(np.stack(trunk), shirt)
    pen.rod([shoulder - 0.6 * limb * across, shoulder + 0.6 * limb * across], 1.1 * limb, shirt)
    size = 2.0 * limb
    pen.rod([head + 0.2 * limb * along], size, hair)
    pen.rod([head - 0.25 * limb * along], 0.86 * size, skin)


def _draw_seat(
    pen: _Pen, x: float, top: float, ground: float, half: float, color: np.ndarray
) -> None:
    """A stool from its top to the ground, `half` as wide to either side of x."""
    for foot in (-0.75, 0.75):
        pen.rod([np.array([x + foot * half, y]) for y in (top, ground)], 0.3 * half, 0.8 * color)
    corners = [(x - half, top), (x + half, top), (x + half, top + 4), (x - half, top + 4)]
    pen.slab(np.array(corners), color)


def _draw_carried(
    pen: _Pen, place: np.ndarray, radius: float, color: np.ndarray, is_ball: bool
) -> None:
    """A ball or a crate."""
    if is_ball:
        pen.rod([place], 1.8 * radius, color)
        return
    corners = np.array([(-1.1, -0.8), (1.1, -0.8), (1.1, 0.8), (-1.1, 0.8)]) * radius
    pen.slab(place + corners, color)
