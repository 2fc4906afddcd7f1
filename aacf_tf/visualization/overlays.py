"""Draws attention maps over frames: the one place for it, in numpy and OpenCV.

Maps live on the grid of the feature map. A cell lies at the centre of its receptive field
(`aacf_tf.backbones.receptive_field`); between the centres a map is interpolated linearly, before
the first and after the last one it stays as it is.
"""

from __future__ import annotations

import warnings
from typing import Mapping, Sequence

import cv2
import numpy as np

from tfrecords.media import pictures

# Colour of weak and of strong evidence, RGB. Orange against blue can be told apart by everybody.
ACTION_COLORS = ((214, 40, 20), (255, 214, 64))
CONTEXT_COLORS = ((32, 72, 222), (84, 232, 255))
BOX_HEAT = 0.5  # a box is drawn around what the display shows above this
_MIN_BOX = 0.002  # share of the frame; less is a speck
_OPACITY = 0.8  # of the strongest evidence
_GRAY = 0.5  # share of the colour taken from frames under a map, so that only the map is coloured


def display(values: np.ndarray) -> np.ndarray:
    """`clip((x - median) / (max - median), 0, 1)` over all of `values`; a constant map is 0.

    Args:
        values: logits, or the logarithm of an attention map: logits but for a constant, which the
            formula does not see.
    """
    values = np.asarray(values, np.float64)
    middle, top = np.median(values), values.max()
    return np.clip((values - middle) / max(top - middle, 1e-9), 0, 1)


def map_logits(outputs: Mapping[str, np.ndarray | None]) -> list[tuple[str, np.ndarray]]:
    """Lists the maps among a model's outputs for a clip, the action's first.

    Args:
        outputs: Name to output; what the head lacks is missing or None.

    Returns:
        Pairs of the title and the logits `[t, h, w]`.
    """
    logits, context = outputs.get("action_logits"), outputs.get("context_attention")
    if logits is None:
        return [("class activation", np.asarray(outputs["class_activation"]))]
    return [
        ("action", logits),
        *([] if context is None else [("context", attention_logits(context))]),
    ]


def attention_logits(attention: np.ndarray) -> np.ndarray:
    """Returns the logits behind attention maps that sum to 1, but for a constant of each clip."""
    return np.log(np.maximum(attention, 1e-30))


def at_times(maps: np.ndarray, positions: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Maps at moments between those of their cells.

    Args:
        maps: `[t, h, w]`.
        positions: `[M]`, in sampled frames from the first one; may lie outside.
        centres: `[t]`, of the cells, in sampled frames from the first one.

    Returns:
        `[M, h, w]`.
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
    """One map `[h, w]` enlarged to the frame it belongs to.

    Args:
        cells: a map of one moment.
        frame: (height, width) of the frame, pixels.
        size: (height, width) of what the network saw of it.
        centres: of its rows `[h]` and its columns `[w]`, pixels of what the network saw.
        resize: how the frame came to that size, see `tfrecords.reading.preprocess`.

    Returns:
        float32 `[height, width]`; 0 where the network did not look ("short_side" cuts the rim off).
    """
    top, left, height, width = seen_area(frame, size, resize)
    y, x = (
        # Pixels are centred at integers in the frame and in what the network saw.
        np.interp((np.arange(full) + 0.5) * side / full - 0.5, places, np.arange(len(places)))
        for full, side, places in zip((height, width), size, centres)
    )
    x, y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    source = np.asarray(cells, np.float32)
    result = np.zeros(frame, np.float32)
    result[top : top + height, left : left + width] = cv2.remap(
        source, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return result


def seen_area(frame: Sequence[int], size: Sequence[int], resize: str) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the part of a frame that preprocessing keeps, in its pixels."""
    if resize == "stretch":
        return 0, 0, frame[0], frame[1]
    scale = max(side / full for side, full in zip(size, frame))
    height, width = (min(full, round(side / scale)) for side, full in zip(size, frame))
    return (frame[0] - height) // 2, (frame[1] - width) // 2, height, width


def tint(image: np.ndarray, heat: np.ndarray, colors: Sequence[Sequence[int]]) -> np.ndarray:
    """A frame, half its colour taken, with the map laid over it.

    Args:
        image: uint8 `[H, W, 3]` RGB.
        heat: `[H, W]`, 0..1.
        colors: of weak and of strong evidence, RGB.
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
    """A frame, beside it the same under each map; the boxes are drawn over the first map.

    Args:
        image: uint8 `[H, W, 3]` RGB.
        heats: `[H, W]`, 0..1: the action's, then the context's.
        boxes: of `find_boxes`.
        height: of the result, pixels.

    Returns:
        uint8 `[height, width, 3]`.
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
    """Boxes around the connected regions of a displayed map above `BOX_HEAT`.

    Args:
        heat: `[H, W]`, 0..1, enlarged to its frame.

    Returns:
        (left, top, right, bottom) in pixels, right and bottom exclusive, the largest region first.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces its end of life
        from tensorflow_addons.image import connected_components

    regions = connected_components(heat > BOX_HEAT).numpy()
    boxes = []
    for region in range(1, regions.max() + 1):
        rows, columns = np.nonzero(regions == region)
        if len(rows) >= _MIN_BOX * heat.size:
            corners = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            boxes.append((len(rows), tuple(int(corner) for corner in corners)))
    return [box for _, box in sorted(boxes, reverse=True)]
