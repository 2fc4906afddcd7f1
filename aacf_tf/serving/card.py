"""The card of an exported model: assets/model.json."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from tfrecords.utils.errors import UserError

AXES = ("time", "height", "width")


@dataclass
class ModelCard:
    """Everything a client needs to know about an exported model; fields with defaults are newer."""

    recipe: str
    backbone: str
    head: str
    frames: int  # of a clip, the network's input, as are
    height: int  # pixels
    width: int  # pixels
    fps: float  # frames a second that are sampled; 0: every frame of a video
    resize: str  # how a frame comes to that size, see `tfrecords.reading.preprocess`
    strides: list[int]  # frames and pixels from one cell of a map to the next: time, height, width
    score: str  # the score behind the output `probabilities`
    multi_label: bool  # classes are judged independently
    context_learns: bool  # False: no pair to learn from, the context scores mean nothing
    modality: str = "rgb"
    precision: str = "float32"  # of the backbone; outputs are float32
    winograd: dict[str, float] = field(default_factory=dict)  # convolution -> speed-up measured
    # Axis -> {start, stride, size}: cell i lies at frame or pixel start + i * stride.
    map_centres: dict[str, dict[str, Any]] | None = None
    digest: str = ""  # of the training data
    scaling: str = "inside: pixels 0..255 go in"

    @classmethod
    def read(cls, path: Path) -> ModelCard:
        """Reads a model.json; fields that this version does not know are ignored.

        Raises:
            UserError: A field is missing.
            OSError, ValueError: The file is missing or no JSON.
        """
        content = json.loads(path.read_text(encoding="utf-8"))
        required = [f.name for f in fields(cls) if f.default is f.default_factory is MISSING]
        missing = [name for name in required if name not in content]
        if missing:
            raise UserError(f"Expected the fields {', '.join(missing)} in {path}, received none.")
        return cls(**{f.name: content[f.name] for f in fields(cls) if f.name in content})

    def axes(self) -> list[tuple[float, int, int]]:
        """Returns (centre of cell 0, stride, number of cells) of a map's time, height and width."""
        if self.map_centres is not None:
            axes = (self.map_centres[name] for name in AXES)
            return [(axis["start"], axis["stride"], axis["size"]) for axis in axes]
        # Older exports: the middles of the stride boxes.
        sizes = (self.frames, self.height, self.width)
        return [((s - 1) / 2, s, -(-size // s)) for size, s in zip(sizes, self.strides)]
