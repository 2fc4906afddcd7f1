"""Small videos of known frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Callable, Optional, Sequence

import av
import numpy as np
import pytest


@pytest.fixture(scope="session")
def write_video() -> Callable:
    """Writes uint8 [T, H, W, 3] without loss (FFV1); `times` are milliseconds, T of them."""

    def write(
        path: Path, frames: np.ndarray, fps: int = 20, times: Optional[Sequence[int]] = None
    ) -> Path:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=fps)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "bgr0"
            unit = Fraction(1, fps) if times is None else Fraction(1, 1000)
            stream.codec_context.time_base = unit
            times = range(len(frames)) if times is None else times
            for time, image in zip(times, frames):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = time, unit
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def counted() -> Callable:
    """Frames that tell their number: frame n of `count` is grey of value 4 n."""

    def make(count: int, height: int = 24, width: int = 32) -> np.ndarray:
        shades = (4 * np.arange(count)).astype(np.uint8)
        return np.broadcast_to(shades[:, None, None, None], (count, height, width, 3)).copy()

    return make
