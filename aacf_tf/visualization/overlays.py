"""Draws attention maps over frames, in numpy and OpenCV.

Maps live on the grid of the feature map. A cell lies at the centre of its receptive field
(`aacf_tf.backbones.receptive_field`). A map is interpolated linearly between the centres, and
constant before the first and after the last one.
"""

from __future__ import annotations

import warnings
from typing import Any, Mapping, Sequence

import cv2
import numpy as np

from tfrecords.media import pictures

# Colours of weak and of strong evidence, RGB. Everybody can tell orange from blue.
ACTION_COLORS = ((214, 40, 20), (255, 214, 64))
CONTEXT_COLORS = ((32, 72, 222), (84, 232, 255))
BOX_HEAT = 0.5  # displayed value above which a box is drawn
_MIN_BOX = 0.002  # share of the frame below which a region is a speck
_OPACITY = 0.8  # opacity of the strongest evidence
_GRAY = 0.5  # share of the colour taken from frames under a map, so that only the map is coloured


def display(values: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Scales values for display: `clip((x - median) / (max - median), 0, 1)` over all of them.

    Args:
        values: Logits, up to a constant, which cancels. A constant map becomes 0.
        like: Values whose median and maximum are taken instead of their own.
    """
    values = np.asarray(values, np.float64)
    scale = values if like is None else np.asarray(like, np.float64)
    middle, top = np.median(scale), scale.max()
    return np.clip((values - middle) / max(top - middle, 1e-9), 0, 1)


def map_logits(outputs: Mapping[str, Any]) -> list[tuple[str, np.ndarray]]:
    """Lists the maps among a model's outputs for a clip, the action's first.

    Args:
        outputs: Name to output; what the head lacks is missing or None.

    Returns:
        Pairs of the title and the logits `[t, h, w]`.
    """
    if outputs.get("action_logits") is None:
        return [("class activation", outputs["class_activation"])]
    maps = [("action", outputs["action_logits"])]
    if outputs.get("context_attention") is not None:
        maps.append(("context", attention_logits(outputs["context_attention"])))
    return maps


def attention_logits(attention: np.ndarray) -> np.ndarray:
    """Returns the logits of attention maps that sum to 1, up to a constant of each clip."""
    return np.log(np.maximum(attention, 1e-30))


def at_times(maps: np.ndarray, positions: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Interpolates maps in time.

    Args:
        maps: Maps `[t, h, w]`.
        positions: Moments `[M]` in sampled frames from the first one; may lie outside.
        centres: Moments `[t]` of the cells, in sampled frames from the first one.

    Returns:
        Maps `[M, h, w]` at the positions.
    """
    cells = np.interp(positions, centres, np.arange(len(maps)))
    before = np.floor(cells).astype(int)
    share = (cells - before)[:, None, None]
    after = np.minimum(before + 1, len(maps) - 1)
    return maps[before] * (1 - share) + maps[after] * share


def in_space(
    cells: np.ndarray,
    frame: Sequence[int],
    size: Sequence[int],
    centres: Sequence[np.ndarray],
    resize: str = "stretch",
) -> np.ndarray:
    """Enlarges the map of one moment to its frame.

    Args:
        cells: Map `[h, w]`.
        frame: Size (height, width) of the frame in pixels.
        size: Size (height, width) of the network's input.
        centres: Centres of the map's rows `[h]` and columns `[w]`, in pixels of that input.
        resize: Kind of resizing that gave the frame that size, see `tfrecords.reading.preprocess`.

    Returns:
        Map, float32 `[height, width]`; 0 outside the network's input ("short_side" crops the rim).
    """
    top, left, height, width = seen_area(frame, size, resize)
    y, x = (
        # Pixels are centred at integers in the frame and in the network's input.
        np.interp((np.arange(full) + 0.5) * side / full - 0.5, cells_at, np.arange(len(cells_at)))
        for full, side, cells_at in zip((height, width), size, centres)
    )
    x, y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    source = np.asarray(cells, np.float32)
    result = np.zeros(frame, np.float32)
    result[top : top + height, left : left + width] = cv2.remap(
        source, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return result


def seen_area(frame: Sequence[int], size: Sequence[int], resize: str) -> tuple[int, int, int, int]:
    """Returns (top, left, height, width) in pixels of the part that preprocessing keeps."""
    if resize == "stretch":
        return 0, 0, frame[0], frame[1]
    scale = max(side / full for side, full in zip(size, frame))
    height, width = (min(full, round(side / scale)) for side, full in zip(size, frame))
    return (frame[0] - height) // 2, (frame[1] - width) // 2, height, width


def tint(image: np.ndarray, heat: np.ndarray, colors: Sequence[Sequence[int]]) -> np.ndarray:
    """Lays a map over a frame that is half desaturated.

    Args:
        image: Frame, uint8 `[H, W, 3]` RGB.
        heat: Map `[H, W]`, 0..1.
        colors: Colours of weak and of strong evidence, RGB.
    """
    image = image.astype(np.float32)
    gray = image @ np.array([0.299, 0.587, 0.114], np.float32)
    base = image + _GRAY * (gray[..., None] - image)
    heat = np.clip(heat, 0, 1)[..., None].astype(np.float32)
    weak, strong = (np.array(color, np.float32) for color in colors)
    color = weak + heat * (strong - weak)
    return np.rint(base + _OPACITY * heat * (color - base)).astype(np.uint8)


def side_by_side(
    image: np.ndarray,
    heats: Sequence[np.ndarray],
    boxes: Sequence[Sequence[int]],
    height: int,
) -> np.ndarray:
    """Joins a frame and the same frame under each map, with boxes over the first map.

    Args:
        image: Frame, uint8 `[H, W, 3]` RGB.
        heats: Maps `[H, W]`, 0..1: the action's, then the context's.
        boxes: Result of `find_boxes`.
        height: Height of the result in pixels.

    Returns:
        Picture, uint8 `[height, width, 3]`.
    """
    scale = height / image.shape[0]
    image = pictures.enlarge(image, height)
    panels = [image]
    for heat, colors in zip(heats, (ACTION_COLORS, CONTEXT_COLORS)):
        panels.append(tint(image, pictures.enlarge(heat, height), colors))
    for box in boxes:
        pictures.draw_box(panels[1], [round(scale * side) for side in box])
    return np.concatenate(panels, axis=1)


def find_boxes(heat: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Finds boxes around the connected regions of a displayed map above `BOX_HEAT`.

    Args:
        heat: Map `[H, W]`, 0..1, enlarged to its frame.

    Returns:
        Boxes (left, top, right, bottom) in pixels, right and bottom exclusive, the largest region's
        first.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on import it warns of its end of life
        from tensorflow_addons.image import connected_components

    regions = connected_components(heat > BOX_HEAT).numpy()
    boxes = []
    for region in range(1, regions.max() + 1):
        rows, columns = np.nonzero(regions == region)
        if len(rows) >= _MIN_BOX * heat.size:
            corners = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            boxes.append((len(rows), tuple(int(corner) for corner in corners)))
    return [box for _, box in sorted(boxes, reverse=True)]
