"""Finds clips that look alike, by perceptual hashes of a few frames.

A hash (OpenCV's `img_hash.PHash`) keeps the signs of the lowest frequencies of a grey picture, 64
bits that another size, bit rate or brightness changes little. Two clips look alike if two of their
three frames (of photographs the one) differ in few bits from frames of the other. Mirrored or
strongly cropped copies are not found.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Iterator, Mapping, Optional, Sequence

import cv2
import numpy as np
from av.error import FFmpegError

from tfrecords.media import images, video
from tfrecords.media.video import UnreadableError
from tfrecords.sources.base import Row
from tfrecords.utils.errors import UserError, raise_if_machine
from tfrecords.utils.progress import progress

FRAMES = 3
BITS = 64
NEAR = 10  # bits in which frames may differ; 254 clips of J-HMDB have no false pair at 12
# Standard deviation of grey values; a frame below it, such as a black one, says nothing.
PLAIN = 8.0
BLOCK = 64  # clips compared with all others at a time


def alike_pairs(
    rows: Sequence[Row], paths: Mapping[str, str], across: bool = False
) -> Iterator[tuple[Row, Row]]:
    """Yields the pairs of rows of different files that look alike.

    Args:
        rows: Rows; those that cannot be read are like none.
        paths: Path of every file that the rows name.
        across: Whether only pairs of different splits count; default False.

    Raises:
        UserError: OpenCV lacks the hashes.
        MachineError: As `video.decode`.
    """
    if not hasattr(cv2, "img_hash"):
        raise UserError(
            "Expected OpenCV with its contrib modules to look for clips that are alike "
            "(opencv-contrib-python-headless alone; --near_duplicates=ignore goes without), "
            f"received OpenCV {cv2.__version__} without."
        )
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        hashes = pool.map(partial(_signs, paths), rows)
        bar = progress(hashes, total=len(rows), desc="look-alikes", unit="clip", leave=False)
        signs = np.array(list(bar), np.float32)
    signs = signs.reshape(len(rows), FRAMES, BITS)
    readable = np.abs(signs).sum(axis=(1, 2)) / BITS  # frames
    splits = np.array([row.split for row in rows])
    files = np.array([row.media for row in rows])
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        products = np.tensordot(signs[block], signs[start:], axes=(2, 2))  # [b, frames, n, frames]
        near = products >= BITS - 2 * NEAR
        matches = np.minimum(near.any(axis=3).sum(axis=1), near.any(axis=1).sum(axis=2))
        needed = np.minimum(readable[block, None], readable[None, start:]).clip(1, 2)
        found = (matches >= needed) & (files[block, None] != files[None, start:])
        if across:
            found &= splits[block, None] != splits[None, start:]
        for one, other in zip(*np.nonzero(found)):
            if one < other:
                yield rows[start + one], rows[start + other]


def _signs(paths: Mapping[str, str], row: Row) -> np.ndarray:
    """Returns the hashes of a row's frames as signs, [FRAMES, BITS]; zeros: no such frame."""
    signs = np.zeros((FRAMES, BITS), np.float32)
    try:
        for number, grey in enumerate(_pictures(paths[row.media], row.start, row.end)):
            if grey.std() >= PLAIN:
                code = np.asarray(cv2.img_hash.pHash(np.ascontiguousarray(grey)), np.uint8)
                signs[number] = 2.0 * np.unpackbits(code) - 1
    except UnreadableError:
        pass  # the build names it
    except (FFmpegError, ValueError) as error:
        raise_if_machine(error, row.media)
    return signs


def _pictures(path: str, start: float, end: Optional[float]) -> Iterator[np.ndarray]:
    """Yields `FRAMES` grey frames, evenly spaced over a span; of a photograph itself."""
    if images.is_photograph(path):
        yield cv2.cvtColor(images.read_image(path).pixels, cv2.COLOR_RGB2GRAY)
        return
    length = (end or video.read_header(path).seconds) - start
    count, frame = 0, None
    for time, rate, frame in video.decode(path, start):
        middle = time + 0.5 / rate
        if end is not None and middle >= end:
            break
        while count < FRAMES and middle >= start + (count + 0.5) / FRAMES * length:
            yield frame.to_ndarray(format="gray")
            count += 1
        if count == FRAMES:
            return
    if frame is not None and count:  # the file ends sooner than it says
        yield frame.to_ndarray(format="gray")
