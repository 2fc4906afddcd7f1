"""The options of the command and their values, without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

MASKS = ("auto", "annotated", "automatic", "motion")
SCALINGS = ("uint8", "0..1", "-1..1", "imagenet")
LAYOUTS = ("bthwc", "bcthw", "bhwc")


@dataclass(frozen=True)
class Options:
    """How to call a SavedModel; None: what the model says, else what is usual.

    Attributes:
        signature, input_name, output_name: Names in the SavedModel.
        map_name: Output `[B, t, h, w]` to judge as a map.
        labels: Path of a list of classes, one a line, in the order of the outputs.
        scaling: What pixels become: "uint8", 0..255 as they are; "0..1"; "-1..1"; "imagenet", less
            the mean and divided by the deviation of ImageNet.
        layout: Axes of the input: "bthwc", "bcthw", or "bhwc" for a network of images, which sees
            each frame by itself and whose outputs are averaged over a clip.
        frames, height, width: Size of a clip.
        fps, resize: See `ClipSpec`.
    """

    signature: str | None = None
    input_name: str | None = None
    output_name: str | None = None
    map_name: str | None = None
    labels: str | None = None
    scaling: str | None = None
    layout: str | None = None
    frames: int | None = None
    height: int | None = None
    width: int | None = None
    fps: float | None = None
    resize: str | None = None
