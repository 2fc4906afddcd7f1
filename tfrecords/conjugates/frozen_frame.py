"""The clip's first frame, repeated: the person stays, the motion goes. Needs no mask."""

from __future__ import annotations

import numpy as np


def frozen_frame(clip: np.ndarray) -> np.ndarray:
    """uint8 [T, H, W, 3] -> the same shape, every frame the first."""
    return np.repeat(clip[:1], len(clip), axis=0)
