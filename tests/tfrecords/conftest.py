"""Small videos of known frames."""

from __future__ import annotations

from typing import Callable

import numpy as np
import pytest


@pytest.fixture(scope="session")
def counted() -> Callable:
    """Frames that tell their number: frame n of `count` is grey of value 4 n."""

    def make(count: int, height: int = 24, width: int = 32) -> np.ndarray:
        shades = (4 * np.arange(count)).astype(np.uint8)
        return np.broadcast_to(shades[:, None, None, None], (count, height, width, 3)).copy()

    return make
