"""Estimates the motion of the camera from the background.

Corners of the background are followed from frame to frame (Lucas-Kanade, forwards and back) and a
similarity (shift, turn, zoom) is fitted to them by RANSAC. OpenCV's RANSAC draws from a fixed seed:
the same clip gives the same result.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

# Fewer followed corners than this say nothing about the camera: it is then taken to stand still.
MIN_CORNERS = 8
# A clip whose corners of the frame move by less than this, in pixels, was taken by a still camera:
# leaving its pixels where they are is sharper than warping them.
STILL = 0.5


def camera_path(grey: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Returns the transforms that lay every frame onto the middle frame.

    Args:
        grey: Grey frames, uint8 [T, H, W].
        background: Map of the background, bool [T, H, W], False on the actor.

    Returns:
        Matrices acting on (x, y, 1) in pixels, float64 [T, 3, 3]; identities for a still camera.
    """
    count, height, width = grey.shape
    middle = count // 2
    path = np.tile(np.eye(3), (count, 1, 1))
    for n in range(middle + 1, count):
        path[n] = path[n - 1] @ _step(grey[n], grey[n - 1], background[n], background[n - 1])
    for n in range(middle - 1, -1, -1):
        path[n] = path[n + 1] @ _step(grey[n], grey[n + 1], background[n], background[n + 1])
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], float).T
    moved = np.abs(path @ corners - corners)[:, :2].max()
    return path if moved > STILL else np.tile(np.eye(3), (count, 1, 1))


def _step(
    moving: np.ndarray, fixed: np.ndarray, free_moving: np.ndarray, free_fixed: np.ndarray
) -> np.ndarray:
    """Fits the similarity [3, 3] that lays a frame onto its neighbour; else the identity."""
    corners = cv2.goodFeaturesToTrack(moving, 100, 0.005, 4, mask=free_moving.astype(np.uint8))
    if corners is None or len(corners) < MIN_CORNERS:
        return np.eye(3)
    moved, status = _follow(moving, fixed, corners)
    back, _ = _follow(fixed, moving, moved)
    corners, moved, back = corners[:, 0], moved[:, 0], back[:, 0]
    good = (status[:, 0] == 1) & (np.abs(corners - back).max(axis=1) < 0.5)
    # A corner that arrives on the actor was covered by it.
    height, width = fixed.shape
    at = np.round(moved).astype(int)
    good &= (at >= 0).all(axis=1) & (at < (width, height)).all(axis=1)
    good[good] = free_fixed[at[good, 1], at[good, 0]]
    if good.sum() < MIN_CORNERS:
        return np.eye(3)
    similarity, inliers = cv2.estimateAffinePartial2D(
        corners[good], moved[good], ransacReprojThreshold=1.0
    )
    if similarity is None or inliers.sum() < max(MIN_CORNERS, 0.3 * good.sum()):
        return np.eye(3)
    return np.vstack([similarity, [0, 0, 1]])


def _follow(first: np.ndarray, second: np.ndarray, corners: np.ndarray) -> tuple[Any, Any]:
    """Follows corners from one frame to the next; returns (their places, 1 or 0 for each)."""
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        first, second, corners, np.empty_like(corners), winSize=(15, 15), maxLevel=3
    )
    return moved, status
