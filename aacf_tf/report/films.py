"""Makes what the page plays: the frames of a clip as one JPEG, its maps as small arrays of cells.

Places and lengths are shares of the frame's sides, moments are frames of the clip, so that the page
can draw at any size. The maps are drawn in the browser, see `templates/gallery.js`.
"""

from __future__ import annotations

import base64
from typing import Any, Mapping, NamedTuple, Sequence

import cv2
import numpy as np

from aacf_tf.evaluation.classification import SCORES
from aacf_tf.visualization import overlays
from tfrecords.media import flow, pictures

# Frames, side of a square of the same area in pixels, JPEG quality: the first whose file fits.
_SIZES = ((32, 320, 90), (24, 256, 85), (16, 192, 80), (16, 160, 65), (12, 128, 50), (8, 96, 40))
_BLOCK = 16  # pixels; frames lie on whole JPEG blocks, so that none bleeds into the next
_LONGEST = 4096  # pixels of a frame's side
_OUTLINES = 12  # of the largest parts of a mask


class Film(NamedTuple):
    """A clip, or its conjugate, with maps over it.

    Attributes:
        frames: Frames as shown, uint8 `[T, H, W, 3]`.
        maps: Maps 0..1 for display `[t, h, w]`, the action's first.
        axes: Centre of cell 0 and distance to the next one: time in frames; rows, columns.
        seen: Left, top, width and height of the part that the network sees.
        outlines: Of each frame the outlines of the actor, polygons `[n, 2]` of x, y.
        scores: Score -> the head's scores of the classes.
    """

    frames: np.ndarray
    maps: list[np.ndarray]
    axes: list[tuple[float, float]]
    seen: tuple[float, float, float, float]
    outlines: list[list[np.ndarray]]
    scores: dict[str, np.ndarray]


def make_film(
    frames: np.ndarray,
    outputs: Mapping[str, np.ndarray],
    centres: Sequence[np.ndarray],
    outlines: list[list[np.ndarray]],
    size: Sequence[int],
    resize: str = "stretch",
    like: Mapping[str, np.ndarray] | None = None,
) -> Film:
    """Makes a film of frames and the outputs for them.

    Args:
        frames: Frames to show, uint8 `[T, H, W, C]`; optical flow (C = 2) is shown in colours.
        outputs: The head's outputs.
        centres: Centres of the cells in frames and pixels of the network's input, see
            `predict_clip`.
        outlines: See `Film`.
        size: (height, width) of the network's input.
        resize: Kind of resizing from the frames to it; "stretch" too if they are it.
        like: Outputs by whose scale the maps are shown; None: by their own.
    """
    full = frames.shape[1:3]
    top, left, height, width = overlays.seen_area(full, size, resize)
    axes = [_axis(centres[0], 0, 1, 1)]
    for cells, side, start, length, whole in zip(
        centres[1:], size, (top, left), (height, width), full
    ):
        # Pixels are centred at integers, so the first one's left border is at -0.5.
        axes.append(_axis((cells + 0.5) / side, start / whole, length / whole, 1))
    return Film(
        flow.picture(frames) if frames.shape[-1] == 2 else frames,
        [
            overlays.display(values, scale)
            for (_, values), (_, scale) in zip(
                overlays.map_logits(outputs), overlays.map_logits(outputs if like is None else like)
            )
        ],
        axes,
        (left / full[1], top / full[0], width / full[1], height / full[0]),
        outlines,
        {name: outputs[f"{name}_scores"] for name in SCORES if f"{name}_scores" in outputs},
    )


def _axis(centres: np.ndarray, start: float, scale: float, alone: float) -> tuple[float, float]:
    """Returns centre of cell 0 and the distance of cells, scaled; `alone` for a single cell."""
    step = centres[1] - centres[0] if len(centres) > 1 else alone
    return float(start + scale * centres[0]), float(scale * step)


def mask_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Returns the outlines of a mask bool `[H, W]`, largest first, as polygons of shares."""
    # Twice as large: a corner of a pixel is then half a pixel off its centre.
    large = np.kron(mask.astype(np.uint8), np.ones((2, 2), np.uint8))
    found, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found = sorted(found, key=cv2.contourArea, reverse=True)[:_OUTLINES]
    sides = large.shape[::-1]
    return [(cv2.approxPolyDP(line, 1.0, True)[:, 0] + 0.5) / sides for line in found]


def box_outlines(boxes: np.ndarray) -> list[np.ndarray]:
    """Returns boxes `[n, 4]` of left, top, right and bottom as polygons."""
    return [box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2) for box in np.asarray(boxes)]


def encode(film: Film, budget: int) -> tuple[str, dict[str, Any]]:
    """Encodes a film for the page.

    Args:
        film: The film.
        budget: Length that the data URI of the frames should have at most.

    Returns:
        The data URI, and all else in plain types for JSON.
    """
    uri = ""
    height = width = 0
    shown = np.arange(0)
    for count, side, quality in _SIZES:
        shown = pictures.evenly(len(film.frames), count)
        height, width = film.frames.shape[1:3]
        scale = min(1.0, side / np.sqrt(height * width), _LONGEST / max(height, width))
        height, width = (max(1, round(scale * length)) for length in (height, width))
        uri = _strip(film.frames[shown], height, width, quality)
        if len(uri) <= budget:
            break
    content = {
        "height": height,
        "width": width,
        "block": _blocks(height),
        "shown": shown.tolist(),
        "axes": [[round(value, 5) for value in axis] for axis in film.axes],
        "seen": [round(value, 5) for value in film.seen],
        "grid": list(film.maps[0].shape),
        "maps": [
            base64.b64encode(np.rint(255 * values).astype(np.uint8).tobytes()).decode()
            for values in film.maps
        ],
        "outlines": [
            [np.round(line, 3).reshape(-1).tolist() for line in film.outlines[index]]
            for index in shown
            if film.outlines
        ],
    }
    return uri, content


def _strip(frames: np.ndarray, height: int, width: int, quality: int) -> str:
    """Returns frames as a JPEG, one below the other, in a data URI."""
    space = ((0, _blocks(height) - height), (0, 0), (0, 0))
    scaled = [
        frame
        if frame.shape[:2] == (height, width)
        else cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        for frame in frames
    ]
    picture = np.concatenate([np.pad(frame, space, mode="edge") for frame in scaled])
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    # Small frames are enlarged by the page: their colours need every pixel.
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    encoded = cv2.imencode(".jpg", picture[..., ::-1], options)[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def _blocks(height: int) -> int:
    return -(-height // _BLOCK) * _BLOCK
