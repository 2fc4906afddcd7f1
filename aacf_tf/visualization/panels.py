"""Draws clips as rows of frames and maps, and the sheet of several clips."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

from aacf_tf.visualization import overlays
from tfrecords.media import flow, pictures
from tfrecords.utils.atomic import replacing

FRAMES = 6  # frames of each clip, evenly spaced
_FRAME_HEIGHT = 128  # pixels


def draw_maps(
    pixels: np.ndarray,
    mask: np.ndarray | None,
    outputs: Mapping[str, np.ndarray],
    centres: Sequence[np.ndarray],
    place: overlays.Place | None = None,
) -> list[list[np.ndarray]]:
    """Draws the frames of a clip, and below them the same frames under each map.

    Args:
        pixels: Clip as the model takes it, uint8 `[T, h, w, C]`; optical flow (C = 2) is shown in
            colours.
        mask: The actor, outlined, bool `[T, h, w]`; None if unknown.
        outputs: The model's outputs for this clip.
        centres: Centres of the maps' cells: frames `[t]`, rows `[h]` and columns `[w]`.
        place: Where the cells lie in frames of another size than the model takes; None (default):
            the frames are the model's input.

    Returns:
        Rows of pictures, uint8 `[H, W, 3]`.
    """
    shown = pictures.evenly(len(pixels), FRAMES)
    if pixels.shape[-1] == 2:
        pixels = flow.picture(pixels)
    size = pixels.shape[1:3]
    place = place or overlays.Place(size, centres)
    height = max(_FRAME_HEIGHT, size[0])
    frames = [pictures.enlarge(pixels[index], height) for index in shown]
    rows = [frames]
    for _, heat, colors in display_maps(outputs):
        cells = overlays.at_times(heat, shown, place.centres[0])
        spread = (place.spread(one, size) for one in cells)
        rows.append(
            [
                overlays.tint(frame, pictures.enlarge(heat, height), colors)
                for frame, heat in zip(frames, spread)
            ]
        )
    if mask is not None:
        masks = [pictures.enlarge(mask[index], height) for index in shown]
        rows = [[pictures.outline(image, m) for image, m in zip(row, masks)] for row in rows]
    return rows


def display_maps(
    outputs: Mapping[str, np.ndarray],
) -> list[tuple[str, np.ndarray, Sequence[Sequence[int]]]]:
    """Lists (title, values 0..1 `[t, h, w]`, colours) of the maps among the outputs for a clip."""
    colors = (overlays.ACTION_COLORS, overlays.CONTEXT_COLORS)
    maps = overlays.map_logits(outputs)
    return [
        (title, overlays.display(logits), color) for (title, logits), color in zip(maps, colors)
    ]


def write_sheet(path: Path, strips: Sequence[np.ndarray], columns: int = 2) -> None:
    """Writes pictures as a grid into a PNG; smaller ones get a white rim."""
    sides = np.max([strip.shape[:2] for strip in strips], axis=0)
    strips = [
        np.pad(strip, (*((0, n) for n in sides - strip.shape[:2]), (0, 0)), constant_values=255)
        for strip in strips
    ]
    columns = min(columns, len(strips))
    strips += [np.full_like(strips[0], 255)] * (-len(strips) % columns)
    rows = [strips[first : first + columns] for first in range(0, len(strips), columns)]
    # Frames are noisy: rounded to tens, the file has a third of the size and looks the same.
    levels = np.minimum((pictures.join(rows, gap=14).astype(np.uint16) + 5) // 10 * 10, 255)
    with replacing(path) as temporary:
        Image.fromarray(levels.astype(np.uint8)).save(temporary, format="PNG", optimize=True)


def data_uri(image: np.ndarray) -> str:
    """Encodes a picture as a JPEG for the `src` of an image."""
    encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
