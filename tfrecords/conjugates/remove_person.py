"""Removes the actor: shows the scene behind from other frames, or paints it in.

A hole that moves with the actor, a flicker or a left-over hand is an action in disguise, so:
1. the mask grows by 10 pixels and more (of 240 lines), for hair, clothes and shadow edges;
2. the camera's motion is taken out (`registration`): all frames lie on one canvas, the scene;
3. what moves beside the actor and touches it joins the mask: hands, bats, balls, shadows;
4. the hole is the union of the masks over time ON THE CANVAS: it stands still in the scene;
5. a pixel of the hole is the median over the frames that show the scene there;
6. what too few frames show is inpainted, once, on the canvas: it cannot flicker;
7. the filling is laid back into every frame, its brightness drawn to the hole's rim, which is
   feathered by 1-2 pixels.
Clips with cuts are treated shot by shot.
"""

from __future__ import annotations

import cv2
import numpy as np

from tfrecords.conjugates import shots
from tfrecords.conjugates.erase import grow
from tfrecords.media.motion import camera_path

DILATION = 16 / 240  # of the frame's shorter side
REACH = 36 / 240  # how far from the mask a moving thing may still belong to the actor
MOVING = 28  # difference of a channel, 0..255, from the scene that counts as motion
MIN_VIEWS = 3  # frames that must show a scene pixel before their median is trusted
CANVAS = 3.0  # the canvas may be this many times as wide and high as the frame
FEATHER = 1.0  # pixels, standard deviation
SMOOTH = 0.15  # of the shorter side: how far the brightness of the rim reaches
RIM = 3  # pixels around the hole whose brightness the filling takes on


def remove_person(clip: np.ndarray, mask: np.ndarray, dilation: float = DILATION) -> np.ndarray:
    """Removes the masked actor from a clip.

    Args:
        clip: RGB frames, uint8 [T, H, W, 3].
        mask: Map of the actor, bool [T, H, W] (filled boxes will do).
        dilation: Growth of the mask, as a share of the frame's shorter side.

    Returns:
        The clip without the actor, uint8 [T, H, W, 3]; its own pixels outside the hole.
    """
    radius = max(2, round(dilation * min(clip.shape[1:3])))
    grown = np.stack([grow(frame, radius) for frame in mask])
    starts = [0, *shots.find_cuts(np.stack([shots.signature(frame) for frame in clip]))]
    parts = zip(starts, [*starts[1:], len(clip)])
    return np.concatenate([_remove_in_shot(clip[a:b], grown[a:b]) for a, b in parts])


def _remove_in_shot(clip: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        return clip
    height, width = clip.shape[1:3]
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip])
    to_canvas, size = _canvas(camera_path(grey, ~mask), height, width)

    views = np.stack([_warp(f, m, size, cv2.INTER_CUBIC) for f, m in zip(clip, to_canvas)])
    masked = np.stack([_warp(f, m, size) for f, m in zip(mask, to_canvas)])
    inside = np.stack([_warp(np.ones_like(mask[0]), m, size) for m in to_canvas])
    masked = _with_companions(views, inside, masked, max(2, round(REACH * min(height, width))))
    hole = masked.any(axis=0)
    scene = _scene(views, inside & ~masked, hole)

    result = np.empty_like(clip)
    for n, matrix in enumerate(to_canvas):
        back = cv2.WARP_INVERSE_MAP
        hole_here = _warp(hole, matrix, (height, width), cv2.INTER_NEAREST | back) | mask[n]
        filling = _warp(scene, matrix, (height, width), cv2.INTER_CUBIC | back)
        result[n] = _blend(clip[n], filling, hole_here)
    return result


def _canvas(path: np.ndarray, height: int, width: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Shifts the transforms so that all frames lie on a canvas of the (height, width) returned."""
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], float).T
    places = (path @ corners)[:, :2]  # [T, 2, 4]
    low = np.floor(places.min(axis=(0, 2)))
    extent = np.ceil(places.max(axis=(0, 2)) - low)
    limit = CANVAS * np.array([width, height])
    if (extent > limit).any():  # a path that long is an error of the tracking, or a whip pan
        return np.tile(np.eye(3), (len(path), 1, 1)), (height, width)
    shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]])
    return shift @ path, (int(extent[1]), int(extent[0]))


def _warp(
    image: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    interpolation: int = cv2.INTER_NEAREST,
) -> np.ndarray:
    """Warps an image (or a bool map) onto (height, width); 0 / False where it does not reach."""
    if image.shape[:2] == size and np.array_equal(matrix, np.eye(3)):
        return image
    source = image.astype(np.uint8)
    border = cv2.BORDER_CONSTANT if image.dtype == bool else cv2.BORDER_REPLICATE
    out = cv2.warpPerspective(
        source, matrix, (size[1], size[0]), flags=interpolation, borderMode=border
    )
    return out.astype(image.dtype)


def _with_companions(
    views: np.ndarray, inside: np.ndarray, masked: np.ndarray, reach: int
) -> np.ndarray:
    """Adds to the masks what differs from the scene within `reach` pixels and touches them."""
    near = grow(masked.any(axis=0), reach)
    seen = inside[:, near] & ~masked[:, near]
    scene, count = _median(views[:, near], seen)
    differs = _largest(views[:, near].astype(np.int16) - scene) > MOVING
    moving = np.zeros_like(masked)
    moving[:, near] = differs & seen & (count >= MIN_VIEWS)
    result = masked.copy()
    for n in range(len(masked)):
        # Opened: lone pixels and thin edges are noise and errors of the registration.
        thick = cv2.morphologyEx(moving[n].astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
        things = masked[n] | (thick > 0) & grow(masked[n], reach)
        _, parts = cv2.connectedComponents(things.astype(np.uint8))
        added = np.isin(parts, np.unique(parts[masked[n]])) & ~masked[n] & things
        result[n] |= grow(added, 3)
    return result


def _median(pixels: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Takes the median over the views that see a pixel.

    Args:
        pixels: Pixels of each view, uint8 [T, P, 3].
        seen: Whether a view sees a pixel, bool [T, P].

    Returns:
        The medians, uint8 [P, 3] (white if no view sees it), and the number of views, int [P].
    """
    count = seen.sum(axis=0)
    # Sorted, the unseen (brightest) come last.
    stack = np.where(seen[..., None], pixels, 255)
    stack.sort(axis=0)
    middle = np.maximum(count - 1, 0) // 2
    return np.take_along_axis(stack, middle[None, :, None], axis=0)[0], count


def _largest(difference: np.ndarray) -> np.ndarray:
    """Returns the largest magnitude of three channels (`max` over so short an axis is slow)."""
    red, green, blue = np.moveaxis(np.abs(difference), -1, 0)
    return np.maximum(np.maximum(red, green), blue)


def _scene(views: np.ndarray, seen: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Builds the scene in and around the hole, on the canvas: uint8 [h, w, 3].

    The median of the views that see it, inpainted elsewhere; the middle frame far from the hole.
    """
    near = grow(hole, RIM + 4)
    scene = views[len(views) // 2].copy()
    scene[near], count = _median(views[:, near], seen[:, near])
    unknown = np.zeros_like(hole)
    unknown[near] = (count == 0) | (count < MIN_VIEWS) & hole[near]
    return cv2.inpaint(scene, unknown.astype(np.uint8), 4, cv2.INPAINT_TELEA)


def _blend(frame: np.ndarray, filling: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Blends the filling into the hole: brightness drawn to the rim, the seam feathered."""
    if not hole.any() or hole.all():
        return np.where(hole[..., None], filling, frame)
    difference = frame.astype(np.float32) - filling
    # A rim that differs much shows something that passes by, not another light.
    rim = ~hole & grow(hole, RIM) & (_largest(difference) < MOVING)
    # The difference at the rim, continued into the hole: so smooth that a small image will do.
    known = np.dstack([difference, np.ones(hole.shape, np.float32)]) * rim[..., None]
    quarter = tuple(max(1, length // 4) for length in hole.shape[::-1])
    small = cv2.resize(known, quarter, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(1.0, SMOOTH * min(small.shape[:2])))
    small = small[..., :3] / (small[..., 3:] + 1e-6)
    shift = cv2.resize(small, hole.shape[::-1], interpolation=cv2.INTER_LINEAR)
    alpha = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), FEATHER)
    # The feather lies outside the hole: inside, nothing of the actor may shine through.
    alpha = np.maximum(hole, alpha)[..., None]
    mixed = frame * (1 - alpha) + (filling + shift) * alpha
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
