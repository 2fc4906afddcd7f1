"""Repeats the clip's first frame: the person stays, the motion goes. Needs no mask."""

from __future__ import annotations

import numpy as np


def frozen_frame(clip: np.ndarray) -> np.ndarray:
    """Repeats the first frame of a clip, uint8 [T, H, W, 3]."""
    return np.repeat(clip[:1], len(clip), axis=0)
