"""Optical flow: where each pixel of a frame goes until the next frame, in bytes.

Two channels: u to the right, v downwards, in pixels of the frames it was computed on. As for I3D it
is clipped to +-20 pixels and spread over the 256 bytes in steps of 20 / 127.5 = 0.157 pixels:

    byte = clip(round(pixels / STEP) + 128, 0, 255)        `quantize`
    pixels = (byte - 128) * STEP                           `dequantize`

128 is no motion, -20 pixels is 0 and 20 pixels is 255, and what comes back is at most half a step
(0.078 pixels) from what went in. The bytes are even about 128, so that a mirrored clip has exactly
256 - u (at most 255). A network that scales bytes to -1..1 by `byte / 127.5 - 1`, as I3D does, sees
`pixels / 20 + 1 / 255`: everything half a step to the right and down, no motion included.

T frames have T flows: the last frame has no next one and repeats the flow before it; a single frame
does not move.

Methods, both on grey values:

    tvl1   dual TV-L1 with OpenCV's own parameters, as I3D and the paper; slow, smooth
           C. Zach, T. Pock, H. Bischof: A duality based approach for realtime TV-L1 optical flow,
           DAGM 2007
    dis    dense inverse search, preset medium: a hundred times faster, rougher at edges
           T. Kroeger, R. Timofte, D. Dai, L. Van Gool: Fast optical flow using dense inverse
           search, ECCV 2016

OpenCV gives the same bytes on any number of threads; arrays of numpy never go to a GPU there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrecords.utils.errors import UserError

METHODS = ("tvl1", "dis")
LIMIT = 20.0  # pixels a frame
STEP = LIMIT / 127.5  # pixels a byte
NO_MOTION = 128
DIS_SIDE = 12  # pixels; OpenCV refuses smaller frames


def quantize(pixels: np.ndarray) -> np.ndarray:
    """Converts displacements in pixels to uint8; see the module's docstring."""
    return np.clip(np.rint(pixels / STEP) + NO_MOTION, 0, 255).astype(np.uint8)


def dequantize(codes: np.ndarray) -> np.ndarray:
    """Converts uint8 to float32 displacements in pixels; `quantize` gives the same bytes back."""
    return (np.asarray(codes, np.float32) - NO_MOTION) * np.float32(STEP)


def compute(frames: np.ndarray, method: str) -> np.ndarray:
    """Computes the forward flow of each frame.

    Args:
        frames: RGB frames, uint8 [T, H, W, 3].
        method: Algorithm, one of `METHODS`.

    Returns:
        The flow (u, v) as quantized by `quantize`, uint8 [T, H, W, 2].

    Raises:
        ValueError: If the frames are too small for the method, or the method is unknown.
        UserError: If this OpenCV has no TV-L1.
    """
    import cv2

    height, width = frames.shape[1:3]
    if method not in METHODS:
        raise ValueError(f"Expected method to be one of {METHODS}. Received method={method!r}.")
    if method == "dis" and min(height, width) < DIS_SIDE:
        raise ValueError(
            f"Expected frames of {DIS_SIDE} x {DIS_SIDE} pixels or more for DIS flow. "
            f"Received {width} x {height}."
        )
    estimator: Any  # OpenCV's stubs refuse the None for no first guess
    if method == "dis":
        estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    elif hasattr(cv2, "optflow"):
        estimator = cv2.optflow.DualTVL1OpticalFlow.create()
    else:
        raise UserError(
            "Expected OpenCV with its contrib modules for TV-L1 flow "
            f"(opencv-contrib-python-headless alone), received OpenCV {cv2.__version__} without."
        )
    codes = np.full((*frames.shape[:3], 2), NO_MOTION, np.uint8)
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    for index, (grey, following) in enumerate(zip(greys, greys[1:])):
        if not np.array_equal(grey, following):  # of a still scene: exact, and at no cost
            codes[index] = quantize(estimator.calc(grey, following, None))
    if len(frames) > 1:
        codes[-1] = codes[-2]
    return codes


def picture(codes: np.ndarray, full: float = 4.0) -> np.ndarray:
    """Draws flow as a colour wheel: the hue is the direction, the brightness the speed.

    Right is red, down is yellow-green, left is cyan, up is violet; no motion is black.

    Args:
        codes: Quantized flow, uint8 [..., H, W, 2].
        full: Speed in pixels per frame from which on a colour is at its brightest.

    Returns:
        An RGB image, uint8 [..., H, W, 3].
    """
    import cv2

    u, v = np.moveaxis(dequantize(codes), -1, 0)
    hue = np.rint(np.degrees(np.arctan2(v, u)) / 2) % 180  # OpenCV's bytes: two degrees each
    value = np.minimum(np.hypot(u, v) / full, 1.0) * 255
    colours = np.stack([hue, np.full_like(hue, 255), value], axis=-1).astype(np.uint8)
    rows = colours.reshape(-1, *colours.shape[-2:])  # all frames as one tall image
    return cv2.cvtColor(rows, cv2.COLOR_HSV2RGB).reshape(colours.shape)
