"""Composes pictures: scales, outlines and titles them, and joins them to grids.

A picture is uint8 `[H, W, 3]`, RGB.
"""

from __future__ import annotations

from typing import Sequence, Tuple

import cv2
import numpy as np

from tfrecords.media import letters

WHITE = (255, 255, 255)
Color = Tuple[int, int, int]


def evenly(count: int, wanted: int) -> np.ndarray:
    """Returns at most `wanted` of `count` indices, evenly spaced, both ends included."""
    return np.linspace(0, count - 1, min(wanted, count)).round().astype(int)


def enlarge(image: np.ndarray, height: int) -> np.ndarray:
    """Scales a picture, or a mask bool `[H, W]`, to a height; its aspect ratio stays."""
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    if image.dtype == bool:
        scaled = cv2.resize(image.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        return scaled.view(bool)
    smaller = height < image.shape[0]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=method)


def outline(
    image: np.ndarray, mask: np.ndarray, color: Color = WHITE, line: int = cv2.LINE_AA
) -> np.ndarray:
    """Draws the outline of a mask bool `[H, W]`, with a dark rim, into a copy."""
    image = np.ascontiguousarray(image).copy()
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, contours, -1, (0, 0, 0), 2, line)
    cv2.drawContours(image, contours, -1, color, 1, line)
    return image


def draw_box(image: np.ndarray, box: Sequence[int], color: Color = WHITE) -> None:
    """Draws (left, top, right, bottom) in pixels, right and bottom exclusive, into the picture."""
    left, top, right, bottom = box
    corners = (left, top), (right - 1, bottom - 1)
    cv2.rectangle(image, *corners, (0, 0, 0), 3)
    cv2.rectangle(image, *corners, color, 1)


def draw_boxes(image: np.ndarray, boxes: np.ndarray, color: Color = WHITE) -> np.ndarray:
    """Draws boxes `[n, 4]`, left, top, right and bottom as shares of the sides, into a copy."""
    image = image.copy()
    height, width = image.shape[:2]
    for box in np.rint(boxes * (width, height, width, height)).astype(int):
        draw_box(image, box.tolist(), color)
    return image


def join(rows: Sequence[Sequence[np.ndarray]], gap: int = 3) -> np.ndarray:
    """Joins rows of pictures of one size, with thin white lines between them."""
    space = ((0, gap), (0, gap), (0, 0))
    padded = [[np.pad(image, space, constant_values=255) for image in row] for row in rows]
    return np.concatenate([np.concatenate(row, axis=1) for row in padded])[:-gap, :-gap]


def with_titles(picture: np.ndarray, titles: Sequence[str], height: int = 34) -> np.ndarray:
    """Puts a bar of titles above a picture, each over its share of the width."""
    return np.concatenate([text_bar(picture.shape[1], height, titles), picture])


def text_bar(width: int, height: int, texts: Sequence[str]) -> np.ndarray:
    """Returns a dark bar `[height, width, 3]` with the texts side by side, cut to their shares."""
    from PIL import Image, ImageDraw

    bar = Image.new("RGB", (width, height), (22, 24, 28))
    pen = ImageDraw.Draw(bar)
    size = max(8, round(height * 0.55))
    share, margin = width // len(texts), height // 4
    top = (height - letters.line_height(size)) / 2
    for index, text in enumerate(texts):
        corner = (index * share + margin, top)
        letters.write(pen, corner, text, size, (236, 238, 242), share - 2 * margin)
    return np.asarray(bar)
