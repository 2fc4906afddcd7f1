"""Measures optical flow: time on one core, bytes of a record, and how far the methods agree.

    python benchmarks/flow.py --video=some.mp4
    python benchmarks/flow.py --video=some.mp4 --short_side=256 --frames=5

Each round computes the flow of one pair of frames by every method, one after the other, on one
thread, without reading the video. The longer TV-L1 takes to settle, the longer it takes, so only
real videos give figures worth noting.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Sequence

import numpy as np
from absl import flags

from tfrecords.media import flow
from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    from benchmarks.sheet import Sheet


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    flags.DEFINE_string("video", None, "A real video.")
    flags.DEFINE_integer("short_side", 128, "Of its frames in pixels; 0: as they are.", 0)
    flags.DEFINE_integer("frames", 13, "Of the video's beginning.", 2)
    flags.DEFINE_string("output", None, "Writes OUTPUT.json (all figures) and OUTPUT.md.")


def main(arguments: Sequence[str]) -> None:
    options = flags.FLAGS
    if arguments or not options.video:
        raise UsageError(
            f"Expected --video=FILE, received {arguments[0] if arguments else 'none'}."
        )
    from benchmarks import machine, sheet
    from tfrecords.media import video

    machine.hold(1)
    frames = video.read_frames(options.video, short_side=options.short_side).frames
    frames = frames[: options.frames]
    if len(frames) < 2:
        raise UsageError(f"Expected a video of 2 frames or more, received {options.video}.")
    result, _ = measure(frames)
    print(f"{sheet.machine_line()}\n\n{sheet.markdown(result)}")
    if options.output:
        sheet.write(options.output, [result])


def measure(frames: np.ndarray) -> tuple[Sheet, dict[str, np.ndarray]]:
    """Computes the flow of uint8 [T, H, W, 3] by every method, in turn for each pair of frames.

    Returns:
        The sheet, a round a pair; and by method the flow, uint8 [T - 1, H, W, 2].
    """
    import cv2

    from benchmarks import sheet

    cv2.setNumThreads(1)
    pairs = len(frames) - 1
    codes: dict[str, np.ndarray] = {}

    def next_pair(method: str) -> Callable[[], None]:
        codes[method] = np.zeros((pairs, *frames.shape[1:3], 2), np.uint8)
        indices = iter([0, *range(pairs)])  # the first one warms up

        def compute() -> None:
            index = next(indices)
            codes[method][index] = flow.compute(frames[index : index + 2], method)[0]

        return compute

    result = sheet.measure(
        f"Flow of {frames.shape[2]}x{frames.shape[1]} pixels, a pair of frames",
        {
            method: sheet.Candidate(lambda method=method: next_pair(method))
            for method in flow.METHODS
        },
        rounds=pairs,
        threads=1,
    )
    result.notes += facts(codes)
    return result, codes


def facts(codes: dict[str, np.ndarray]) -> list[str]:
    """Returns a sentence on each method's flow: its bytes, its speed, how far it is from the first.

    Args:
        codes: By method, uint8 [N, H, W, 2].
    """
    import tensorflow as tf

    first = flow.dequantize(next(iter(codes.values())))
    sentences = []
    for method, values in codes.items():
        pixels = flow.dequantize(values)
        size = statistics.mean(len(image) for image in tf.io.encode_png(values).numpy())
        speed = np.linalg.norm(pixels, axis=-1).mean()
        distance = np.linalg.norm(pixels - first, axis=-1).mean()
        sentences.append(
            f"- {method}: {size:,.0f} bytes a flow in a record, {speed:.2f} pixels on average, "
            f"{distance:.2f} from {next(iter(codes))}"
        )
    return sentences


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
