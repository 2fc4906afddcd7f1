"""What optical flow costs here: time on one core, bytes of a record, and how far the methods agree.

    python benchmarks/flow.py --video=some.mp4
    python benchmarks/flow.py --video=some.mp4 --short_side=256 --frames=5

Each round computes the flow of one pair of frames by every method, one after the other. Time is
that of the processor, on one thread, without reading the video; the longer TV-L1 takes to settle,
the longer it takes, so only real videos give figures worth noting.
"""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple, Sequence

import numpy as np
from absl import flags

from tfrecords import commandline, flow
from tfrecords.errors import UsageError


class Cost(NamedTuple):
    """Of one method: milliseconds a pair of frames, and its flow, uint8 [T - 1, H, W, 2]."""

    milliseconds: list[float]
    codes: np.ndarray


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    flags.DEFINE_string("video", None, "A real video.")
    flags.DEFINE_integer("short_side", 128, "Of its frames in pixels; 0: as they are.", 0)
    flags.DEFINE_integer("frames", 13, "Of the video's beginning.", 2)


def main(arguments: Sequence[str]) -> None:
    options = flags.FLAGS
    if arguments or not options.video:
        raise UsageError(
            f"Expected --video=FILE, received {arguments[0] if arguments else 'none'}."
        )
    from tfrecords import video

    frames = video.read_frames(options.video, short_side=options.short_side).frames
    frames = frames[: options.frames]
    if len(frames) < 2:
        raise UsageError(f"Expected a video of 2 frames or more, received {options.video}.")
    height, width = frames.shape[1:3]
    print(f"{options.video}: {len(frames) - 1} pairs of frames, {width}x{height}, one thread")
    print(table(measure(frames)))


def measure(frames: np.ndarray) -> dict[str, Cost]:
    """Computes the flow of uint8 [T, H, W, 3] by every method, in turn for each pair of frames."""
    import cv2

    cv2.setNumThreads(1)
    costs = {
        method: Cost([], np.zeros((len(frames) - 1, *frames.shape[1:3], 2), np.uint8))
        for method in flow.METHODS
    }
    for index in range(len(frames) - 1):
        for method, cost in costs.items():
            start = time.process_time()
            cost.codes[index] = flow.compute(frames[index : index + 2], method)[0]
            cost.milliseconds.append(1000 * (time.process_time() - start))
    return costs


def table(costs: dict[str, Cost]) -> str:
    """Markdown; the last column is the mean distance to the flow of the first method, in pixels."""
    import tensorflow as tf

    lines = [
        "| method | ms a pair: min | median | max | bytes a flow | mean pixels | from tvl1 |",
        "|---|---|---|---|---|---|---|",
    ]
    first = flow.dequantize(next(iter(costs.values())).codes)
    for method, (times, codes) in costs.items():
        pixels = flow.dequantize(codes)
        size = statistics.mean(len(image) for image in tf.io.encode_png(codes).numpy())
        speed = np.linalg.norm(pixels, axis=-1).mean()
        distance = np.linalg.norm(pixels - first, axis=-1).mean()
        cells = (min(times), statistics.median(times), max(times), size)
        numbers = " | ".join(f"{value:,.{0 if value >= 100 else 1}f}" for value in cells)
        lines.append(f"| {method} | {numbers} | {speed:.2f} | {distance:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    define_flags()
    commandline.run(main, __doc__)
