"""The test sets, each a version of every clip, and how their pixels are composed."""

from __future__ import annotations

from typing import Callable, Mapping, NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from tfrecords.conjugates.remove_person import DILATION, remove_person
from tfrecords.reading.remedies.swap import soften

GREY = 128
# A region of the background shows at least this share of the actor's area, or there is none.
LEAST_REGION = 0.1
WAVES = (3, 12)  # stripes across a picture's width
ORIGINAL = "original"
STRIPES, STILL_STRIPES = "stripes", "stripes_one_frame"
# Set -> kind of `choose_scenes`: whose scene the actor gets.
SWAPS = {"swap_other": "other", "swap_same": "same", "swap_random": "random"}


class Material(NamedTuple):
    """What the versions of a clip are made of.

    Attributes:
        clip: Frames, uint8 `[T, H, W, 3]`.
        mask: Map of the actor, bool `[T, H, W]`.
        scene: Clip with the actor removed and filled, uint8 `[T, H, W, 3]`; None if nothing of the
            scene would be left.
        scenes: Kind of `choose_scenes` to another clip's scene, uint8 `[T, H, W, 3]`.
        seed: Seed of what is drawn for this clip, the same for every set.
    """

    clip: np.ndarray
    mask: np.ndarray
    scene: np.ndarray | None
    scenes: Mapping[str, np.ndarray]
    seed: tuple[int, int]


class ClipSet(NamedTuple):
    """A test set.

    Attributes:
        title: Name on the page.
        meaning: What is done to a clip, and what an answer then says.
        make: Version of a clip, uint8 `[T, H, W, 3]`; None if the clip has none.
        actor: Whether the mask of the actor still holds.
        still: Whether its frames are one and the same: nothing new for clips of one frame.
    """

    title: str
    meaning: str
    make: Callable[[Material], np.ndarray | None]
    actor: bool = True
    still: bool = False


def _draws(material: Material) -> np.random.Generator:
    return np.random.default_rng(material.seed)


def _on(material: Material, scene: np.ndarray) -> np.ndarray:
    return paste(material.clip, material.mask, scene)


def _swap(kind: str) -> Callable[[Material], np.ndarray | None]:
    def make(material: Material) -> np.ndarray | None:
        return _on(material, material.scenes[kind]) if kind in material.scenes else None

    return make


def _human_only(material: Material) -> np.ndarray:
    return _on(material, np.full((1, *material.clip.shape[1:]), GREY, np.uint8))


def _stripes(material: Material) -> np.ndarray:
    return _on(material, draw_stripes(material.clip.shape, _draws(material)))


def _plain(material: Material) -> np.ndarray:
    return _on(material, draw_plain(material.clip.shape, _draws(material)))


def one_frame(frames: np.ndarray) -> np.ndarray:
    """Repeats the middle frame of a clip or a mask `[T, H, W, ...]`."""
    return np.repeat(frames[len(frames) // 2][None], len(frames), axis=0)


def _placebo(material: Material) -> np.ndarray | None:
    region = background_region(material.mask, _draws(material))
    return None if region is None else _on(material, remove_person(material.clip, region))


SETS: dict[str, ClipSet] = {
    ORIGINAL: ClipSet("original", "The clips as they are.", lambda material: material.clip),
    "background_only": ClipSet(
        "background only",
        "The actor removed, the hole filled. Whoever is right here goes by the scene, or by traces "
        "that the removal left.",
        lambda material: material.scene,
        actor=False,
    ),
    "human_only": ClipSet(
        "human only", "The actor on grey. There is no scene to go by.", _human_only
    ),
    "swap_other": ClipSet(
        "action swap, other class",
        "The actor in the scene of a clip of another class. Whoever goes by the scene names that "
        "class.",
        _swap("other"),
    ),
    "swap_same": ClipSet(
        "action swap, same class",
        "The actor in the scene of another clip of the same class. What is lost here is lost to "
        "the pasting, not to the scene.",
        _swap("same"),
    ),
    "swap_random": ClipSet(
        "action swap, random", "The actor in the scene of any other clip.", _swap("random")
    ),
    STRIPES: ClipSet(
        "stripes", "The actor on stripes of random colours, as in SCUBA: a scene unlike any.",
        _stripes,
    ),
    "plain": ClipSet("plain", "The actor on one random colour.", _plain),
    "one_frame": ClipSet(
        "one frame",
        "The middle frame repeated. Whoever is right here needs no motion.",
        lambda material: one_frame(material.clip),
        still=True,
    ),
    STILL_STRIPES: ClipSet(
        "stripes, one frame",
        "The middle frame of the stripes repeated, as in SCUFO. Whoever is right here goes by the "
        "looks of the actor, pose and things held, neither by scene nor by motion.",
        lambda material: one_frame(_stripes(material)),
        still=True,
    ),
    "placebo": ClipSet(
        "placebo",
        "The actor kept, a region of the background as large removed and filled in the same way. "
        "What is lost here is lost to the traces of filling.",
        _placebo,
    ),
}  # fmt: skip


def choose_scenes(
    targets: np.ndarray,
    random: np.random.Generator,
    kind: str = "other",
    able: np.ndarray | None = None,
) -> list[int | None]:
    """Chooses for each clip the number of another one, whose scene it gets.

    Args:
        targets: Classes of the clips, bool `[N, K]`.
        random: Generator that draws, once for each clip in turn.
        kind: "other", a clip that shares no class; "same", one that shares a class; "random", any.
        able: Clips that have a scene to lend, bool `[N]`; None: all.

    Returns:
        Numbers of clips; None for a clip that no other one fits.
    """
    chosen: list[int | None] = []
    able = np.ones(len(targets), bool) if able is None else able
    for number, own in enumerate(targets):
        shared = (targets & own).any(axis=-1)
        fits = able & {"other": ~shared, "same": shared, "random": True}[kind]
        fits[number] = False
        others = np.flatnonzero(fits)
        chosen.append(int(random.choice(others)) if len(others) else None)
    return chosen


def paste(clip: np.ndarray, mask: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """Lays the masked actor on a scene, with the soft edge that training swaps have.

    Args:
        clip: Frames, uint8 `[T, H, W, 3]`.
        mask: Map of the actor, bool `[T, H, W]`.
        scene: Frames of the scene, uint8 `[T, H, W, 3]`, or `[1, H, W, 3]` if it stands still.

    Returns:
        The actor's own pixels in the scene, uint8 `[T, H, W, 3]`.
    """
    alpha = soften(tf.constant(mask[None].astype(np.uint8)))[0].numpy()[..., None]
    return np.rint(alpha * clip + (1 - alpha) * scene).astype(np.uint8)


def fit_scene(scene: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Fits a scene to the length, height and width of a clip: cut, or its last frame repeated."""
    length, height, width = shape[:3]
    frames = scene[np.minimum(np.arange(length), len(scene) - 1)]
    if frames.shape[1:3] == (height, width):
        return frames
    # Averages over what it shrinks; area interpolation of an enlargement is bilinear.
    return np.stack([cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in frames])


def background_region(mask: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """Moves the actor's mask to where it does not touch the actor: bool `[T, H, W]`.

    One random shift for all frames that leaves half of it or more in the picture and keeps clear of
    the actor by what `remove_person` lets a hole grow. If none does (large actors), the shift
    with the most free area, the rest cut away; None if next to nothing is free.
    """
    radius = max(2, round(DILATION * min(mask.shape[1:])))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    taken = np.stack([cv2.dilate(frame.astype(np.uint8), disc) > 0 for frame in mask])
    padded = tuple(2 * side for side in mask.shape[1:])  # shifts of either sign
    moved = np.conj(np.fft.rfft2(mask, padded))

    def overlap(other: np.ndarray) -> np.ndarray:
        """Counts the pixels of the shifted mask on `other`, for every shift, modulo `padded`."""
        product = (np.fft.rfft2(other, padded) * moved).sum(axis=0)
        return np.rint(np.fft.irfft2(product, padded))

    inside, touching = overlap(np.ones_like(mask)), overlap(taken)
    area = mask.sum()
    free = np.flatnonzero((touching == 0) & (inside >= area / 2))
    place = random.choice(free) if free.size else np.argmax(inside - touching)
    shift = np.array(np.unravel_index(place, padded))
    shift = np.where(shift >= mask.shape[1:], shift - padded, shift)
    matrix = np.array([[1, 0, shift[1]], [0, 1, shift[0]]], float)
    size = mask.shape[2], mask.shape[1]
    region = np.stack([cv2.warpAffine(f.astype(np.uint8), matrix, size) > 0 for f in mask])
    region &= ~taken
    return region if region.sum() > LEAST_REGION * area else None


def draw_stripes(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Draws sinusoidal stripes of two random colours, direction and width: uint8 `[1, H, W, 3]`."""
    _, height, width, _ = shape
    angle, phase = random.uniform(0, np.pi), random.uniform(0, 2 * np.pi)
    waves = random.uniform(*WAVES) * 2 * np.pi / width
    rows, columns = np.mgrid[:height, :width]
    wave = np.sin(waves * (columns * np.cos(angle) + rows * np.sin(angle)) + phase)
    share = ((1 + wave) / 2)[..., None]
    one, other = random.integers(0, 256, (2, 3))
    return np.rint(share * one + (1 - share) * other).astype(np.uint8)[None]


def draw_plain(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Draws a scene of a single random colour: uint8 `[1, H, W, 3]`."""
    colour = random.integers(0, 256, 3).astype(np.uint8)
    return np.broadcast_to(colour, (1, *shape[1:]))
