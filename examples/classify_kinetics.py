r"""Classifies a video by I3D with published Kinetics weights.

    python examples/classify_kinetics.py --labels=label_map.txt \
        --rgb_weights=rgb_imagenet/model.ckpt --video=cricket.mp4
    python examples/classify_kinetics.py --labels=label_map.txt --top=20 \
        --rgb_weights=rgb_imagenet/model.ckpt --rgb=v_CricketShot_g04_c01_rgb.npy \
        --flow_weights=flow_imagenet/model.ckpt --flow=v_CricketShot_g04_c01_flow.npy

Weights of one stream predict by that stream, weights of both by the sum of their logits. Printed
are the norm of the logits and the most probable classes, each with probability and logit.

Weights, label map (one class a line) and sample arrays are those of
github.com/deepmind/kinetics-i3d. For its sample, weights `rgb_imagenet` and `flow_imagenet`, these
are the published first lines, to be met up to the last digits:

    RGB      Norm of logits: 87.108871     0.9999968  25.856646  playing cricket
    flow     Norm of logits: 63.252754     0.9477566  15.957031  playing cricket
    both     Norm of logits: 138.468643    1.0        41.8137    playing cricket

The rgb_scratch_kin600 weights go with label_map_600.txt. Other files that `load_weights` knows
serve as well.

A video is prepared as the sample was: 25 frames/s, short side 256 by bilinear interpolation, the
centre of 224x224. All of it goes through the network at once, about 3.5 GFLOP a frame; `--start`
and `--end` choose a part.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Sequence

import numpy as np
from absl import flags

from aacf_tf.backbones.two_stream import CHANNELS, read_array
from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError

FPS, SHORT_SIDE, CROP = 25.0, 256, 224


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags."""
    text = partial(flags.DEFINE_string, flag_values=values)
    text("labels", None, "Label map: one class a line, as the weights count them.")
    text("rgb_weights", None, "Weights of the RGB stream; for TensorFlow the checkpoint's prefix.")
    text("flow_weights", None, "Weights of the flow stream.")
    text("video", None, "Video to classify, by RGB.")
    text("rgb", None, "Instead of --video: .npy array [1, T, H, W, 3] in [-1, 1].")
    text("flow", None, "Optical flow: .npy array [1, T, H, W, 2] in [-1, 1], 1 for 20 pixels.")
    number = partial(flags.DEFINE_float, lower_bound=0.0, flag_values=values)
    number("start", 0.0, "Seconds of the video to start at.")
    number("end", None, "Seconds of the video to end at; else its end.")
    flags.DEFINE_integer("top", 5, "Classes to print.", lower_bound=1, flag_values=values)
    return values


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """The command; see the module's docstring."""
    weights = _check(arguments, values)
    labels = read_labels(values.labels)
    pixels = {}
    if "rgb" in weights:
        pixels["rgb"] = (
            read_array(values.rgb, "rgb")
            if values.rgb
            else read_video(values.video, values.start, values.end)
        )
    if "flow" in weights:
        pixels["flow"] = read_array(values.flow, "flow")
    logits = predict(weights, pixels, len(labels))
    print(describe(logits, labels, values.top))


def _check(arguments: Sequence[str], values: flags.FlagValues) -> dict[str, str]:
    """Refuses what cannot be done; returns the weights by stream."""
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    if not values.labels:
        raise UsageError("--labels: expected a label map such as label_map.txt, received none.")
    weights = {"rgb": values.rgb_weights, "flow": values.flow_weights}
    weights = {stream: path for stream, path in weights.items() if path}
    if not weights:
        raise UsageError("Expected --rgb_weights, --flow_weights or both, received none.")
    if values.video and values.rgb:
        raise UsageError("Expected one of --video and --rgb, received both.")
    if "flow" in weights and not values.flow:
        raise UsageError(
            "--flow_weights: expected the optical flow as --flow=ARRAY.npy, received none; flow is "
            "not yet computed from a video."
        )
    if "rgb" in weights and not (values.video or values.rgb):
        raise UsageError("--rgb_weights: expected --video or --rgb, received neither.")
    if values.flow and "flow" not in weights:
        raise UsageError("--flow: expected --flow_weights with it, received none.")
    if (values.video or values.rgb) and "rgb" not in weights:
        raise UsageError("--video, --rgb: expected --rgb_weights with them, received none.")
    if values.end is not None and values.end <= values.start:
        raise UsageError(
            f"--end: expected more than --start={values.start}, received {values.end}."
        )
    return weights


def read_labels(path: str) -> list[str]:
    """The classes of a label map, one a line; UsageError where there are none."""
    try:
        labels = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--labels: expected a text file, received {path}: {error}.") from error
    labels = [label.strip() for label in labels]
    while labels and not labels[-1]:
        labels.pop()
    if not labels or not all(labels):
        raise UsageError(f"--labels: expected one class a line, received an empty line in {path}.")
    return labels


def read_video(path: str, start: float = 0.0, end: float | None = None) -> np.ndarray:
    """Decodes a video as the sample was prepared: uint8 `[1, T, 224, 224, 3]`.

    Raises:
        UnreadableError: no frame of the span can be decoded.
    """
    import cv2

    from tfrecords.media.video import read_frames

    frames = read_frames(path, start, end, fps=FPS).frames
    height, width = frames.shape[1:3]
    scale = SHORT_SIDE / min(height, width)
    height, width = round(height * scale), round(width * scale)
    top, left = (height - CROP) // 2, (width - CROP) // 2
    # Not the video module's own resizing, which averages what it shrinks and enlarges nothing.
    return np.stack(
        [
            cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)[
                top : top + CROP, left : left + CROP
            ]
            for frame in frames
        ]
    )[None]


def predict(weights: dict[str, str], pixels: dict[str, np.ndarray], classes: int) -> np.ndarray:
    """Logits of one clip: float32 `[classes]`, summed over the streams.

    Args:
        weights: file by stream, `rgb`, `flow` or both.
        pixels: `[1, T, H, W, C]` by stream, 0..255.
        classes: number of classes of the weights.

    Raises:
        UsageError: a file does not fit.
    """
    from aacf_tf.backbones.networks.i3d import i3d
    from aacf_tf.backbones.two_stream import two_stream_i3d
    from aacf_tf.weights import load_weights

    if len(weights) == 2:
        model = two_stream_i3d(include_top=True, classes=classes)
        networks = {stream: model.get_layer(f"{stream}_i3d") for stream in weights}
    else:
        (stream,) = weights
        model = i3d(include_top=True, classes=classes, channels=CHANNELS[stream])
        networks, pixels = {stream: model}, pixels[stream]
    for stream, path in weights.items():
        try:
            load_weights(networks[stream], path)
        except UsageError as error:
            raise UsageError(f"{error} The labels name {classes} classes.") from error
    return model(pixels, training=False).numpy()[0]


def describe(logits: np.ndarray, labels: Sequence[str], top: int) -> str:
    """Norm and most probable classes of float32 logits, in the words of the published outputs."""
    exponentials = np.exp(logits - logits.max())
    probabilities = exponentials / exponentials.sum()
    lines = [f"Norm of logits: {np.linalg.norm(logits):f}", "", "Top classes and probabilities"]
    for index in np.argsort(-logits, kind="stable")[:top]:
        # `str` gives the digits that float32 holds; a format would give those of a double.
        lines.append(f"{probabilities[index]!s} {logits[index]!s} {labels[index]}")
    return "\n".join(lines)


if __name__ == "__main__":
    define_flags()
    commandline.run(main, __doc__)
