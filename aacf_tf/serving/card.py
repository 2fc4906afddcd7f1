"""The card of an exported model: assets/model.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Dict, List, Literal, Optional, TypedDict

from tfrecords.utils.json_files import Limits, read_json

Side = Annotated[int, Limits(1, 1 << 16)]


class Axis(TypedDict):
    """The centres of a map's cells along an axis, in frames or pixels: start + i * stride."""

    start: float
    stride: Side
    size: Side


class Centres(TypedDict):
    """The axes of a map."""

    time: Axis
    height: Axis
    width: Axis


@dataclass
class ModelCard:
    """Everything a client needs to know about an exported model; fields with defaults are newer."""

    recipe: str
    backbone: str
    head: str
    frames: Side  # of a clip, the network's input, as are
    height: Side  # pixels
    width: Side  # pixels
    fps: Annotated[float, Limits(0, 1000)]  # frames/s that are sampled; 0: all of a video
    resize: Literal["stretch", "short_side", "whole"]  # see `tfrecords.reading.preprocess`
    # Frames and pixels from one cell of a map to the next: time, height, width.
    strides: Annotated[List[Side], Limits(3, 3)]
    score: str  # the score behind the output `probabilities`
    multi_label: bool  # classes are judged independently
    context_learns: bool  # False: no pair to learn from, the context scores mean nothing
    modality: Literal["rgb", "flow", "two_stream"] = "rgb"
    precision: str = "float32"  # of the backbone; outputs are float32
    winograd: Dict[str, float] = field(default_factory=dict)  # convolution -> speed-up measured
    map_centres: Optional[Centres] = None
    digest: str = ""  # of the training data
    signatures: List[str] = field(default_factory=list)
    scaling: str = "inside: pixels 0..255 go in"

    @classmethod
    def read(cls, path: Path) -> ModelCard:
        """Reads a model.json; fields that this version does not know are ignored.

        Raises:
            UserError: The file cannot be read, or a field is missing or not as expected.
        """
        return read_json(path, cls)

    def axes(self) -> list[tuple[float, int, int]]:
        """Returns (centre of cell 0, stride, number of cells) of a map's time, height and width."""
        if self.map_centres is not None:
            centres = self.map_centres
            axes = (centres["time"], centres["height"], centres["width"])
            return [(axis["start"], axis["stride"], axis["size"]) for axis in axes]
        # Older exports: the middles of the stride boxes.
        sizes = (self.frames, self.height, self.width)
        return [((s - 1) / 2, s, -(-size // s)) for size, s in zip(sizes, self.strides)]
