"""Draws attention maps over frames, in numpy and OpenCV.

Maps live on the grid of the feature map. A cell lies at the centre of its receptive field
(`aacf_tf.backbones.receptive_field`). A map is interpolated linearly between the centres, and
constant before the first and after the last one.
"""

from __future__ import annotations

import warnings
from typing import Any, Mapping, NamedTuple, Sequence

import cv2
import numpy as np

from tfrecords.media import pictures

# Colours of weak and of strong evidence, RGB. Everybody can tell orange from blue; the test of the
# colour-blind simulates the three kinds of colour blindness.
ACTION_COLORS = ((214, 40, 20), (255, 214, 64))
CONTEXT_COLORS = ((32, 72, 222), (84, 232, 255))
BOX_HEAT = 0.5  # displayed value above which a box is drawn
_MIN_BOX = 0.002  # share of the frame below which a region is a speck
_OPACITY = 0.8  # opacity of the strongest evidence
_GRAY = 0.5  # share of the colour taken from frames under a map, so that only the map is coloured
_BOX_SIDE = 120  # pixels of the shorter side on which boxes are sought


class Place(NamedTuple):
    """Where the cells of a clip's maps lie in its frames.

    Attributes:
        size: Size (height, width) of the network's input for these frames.
        centres: Centres of the cells in time `[t]`, in frames of the clip, and of rows `[h]` and
            columns `[w]`, in pixels of that input.
        resize: Kind of resizing from frame to input, see `tfrecords.reading.preprocess`.
    """

    size: Sequence[int]
    centres: Sequence[np.ndarray]
    resize: str = "stretch"

    def spread(self, cells: np.ndarray, frame: Sequence[int]) -> np.ndarray:
        """Enlarges a map `[h, w]` to a frame of the size (height, width), float32."""
        return in_space(cells, frame, self.size, self.centres[1:], self.resize)


class Range:
    """Gathers the median and the maximum of maps that come one by one, see `display`.

    Args:
        kept: Maps at most that are held for the median. Of more it takes every second one, every
            fourth, and so on, so that a video may have any length.
        forgets: Whether to know the last `kept` maps only, for a source without an end.
    """

    def __init__(self, kept: int = 512, forgets: bool = False):
        self._most, self._forgets = kept, forgets
        self._maps: list[np.ndarray] = []
        self._count, self._every, self._top = 0, 1, -np.inf
        self._middle: float | None = None

    def add(self, values: np.ndarray) -> None:
        """Adds a map."""
        self._top = max(self._top, float(values.max()))
        if self._count % self._every == 0:
            self._maps.append(values)
        if len(self._maps) > self._most and self._forgets:
            self._maps.pop(0)
            self._top = max(float(one.max()) for one in self._maps)
        elif len(self._maps) > self._most:
            self._maps, self._every = self._maps[::2], 2 * self._every
        self._count += 1
        self._middle = None

    def display(self, values: np.ndarray) -> np.ndarray:
        """Scales values for display, 0..1, by all maps so far."""
        if self._middle is None:
            self._middle = float(np.median(self._maps))
        return np.clip((values - self._middle) / max(self._top - self._middle, 1e-9), 0, 1)


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
    """Lays a map over a frame that is half desaturated; see `tint_all`."""
    return tint_all(image, [(heat, colors)])


def tint_all(
    image: np.ndarray, layers: Sequence[tuple[np.ndarray, Sequence[Sequence[int]]]]
) -> np.ndarray:
    """Lays maps over one frame that is half desaturated.

    Args:
        image: Frame, uint8 `[H, W, 3]` RGB.
        layers: Pairs of a map `[H, W]`, 0..1, and its colours of weak and of strong evidence, RGB;
            the last one lies on top.
    """
    image = np.ascontiguousarray(image)
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    picture = cv2.addWeighted(image, 1 - _GRAY, gray, _GRAY, 0)
    for heat, colors in layers:
        heat = np.clip(heat, 0, 1).astype(np.float32)
        # Of 256 levels: a table is read ten times as fast as colours are computed.
        weak, strong = (np.array(color, np.float32) for color in colors)
        table = weak + np.linspace(0, 1, 256, dtype=np.float32)[:, None] * (strong - weak)
        color = np.rint(table).astype(np.uint8)[np.rint(255 * heat).astype(np.uint8)]
        weight = _OPACITY * heat
        picture = cv2.blendLinear(picture, color, 1 - weight, weight)
    return picture


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


def boxes_in(place: Place, cells: np.ndarray, frame: Sequence[int]) -> list[tuple]:
    """Finds the boxes of a displayed map `[h, w]` in pixels of its frame (height, width).

    They are sought on a small picture, since a map has few cells; see `find_boxes`.
    """
    scale = max(1.0, min(frame) / _BOX_SIDE)
    small = [max(1, round(side / scale)) for side in frame]
    y, x = (full / side for full, side in zip(frame, small))
    found = find_boxes(place.spread(cells, small))
    return [tuple(round(side * by) for side, by in zip(box, (x, y, x, y))) for box in found]


def find_boxes(heat: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Finds boxes around the connected regions of a displayed map above `BOX_HEAT`.

    Args:
        heat: Map `[H, W]`, 0..1, enlarged to its frame.

    Returns:
        Boxes (left, top, right, bottom) in pixels, right and bottom exclusive, the largest region's
        first.
    """
    regions = _regions(heat > BOX_HEAT)
    boxes = []
    for region in range(1, regions.max() + 1):
        rows, columns = np.nonzero(regions == region)
        if len(rows) >= _MIN_BOX * heat.size:
            corners = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            boxes.append((len(rows), tuple(int(corner) for corner in corners)))
    return [box for _, box in sorted(boxes, reverse=True)]


def _regions(marked: np.ndarray) -> np.ndarray:
    """Numbers the connected regions of a bool map from 1; diagonal neighbours do not connect."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on import it warns of its end of life
            from tensorflow_addons.image import connected_components
    except ImportError:  # from Python 3.12 on
        return cv2.connectedComponents(marked.astype(np.uint8), connectivity=4)[1]
    return connected_components(marked).numpy()
