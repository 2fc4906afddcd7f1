"""The card of an exported model: assets/model.json."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tfrecords.utils.errors import UserError

AXES = ("time", "height", "width")


@dataclass
class ModelCard:
    """Everything a client needs to know about an exported model.

    Attributes:
        recipe, backbone, head: Names.
        frames, height, width: Size of the network's input.
        fps: Frames a second that are sampled; 0 takes every frame of a video.
        resize: How a frame comes to that size, see `tfrecords.reading.preprocess`.
        strides: Frames and pixels from one cell of a map to the next: time, height, width.
        score: Score behind the output `probabilities`.
        multi_label: Whether classes are judged independently.
        context_learns: False if the training data had no pairs: context scores mean nothing then.
        modality: `rgb`, `flow` or `two_stream`.
        precision: Type that the backbone computes in; outputs are float32.
        winograd: Convolution to its speed-up over the direct one, measured at the export.
        map_centres: Axis to `start`, `stride` and `size`: cell i of a map lies at frame or pixel
            start + i * stride. None in exports older than this field.
        digest: Digest of the training data.
        scaling: Range of the input, in words.
    """

    recipe: str
    backbone: str
    head: str
    frames: int
    height: int
    width: int
    fps: float
    resize: str
    strides: list[int]
    score: str
    multi_label: bool
    context_learns: bool
    modality: str = "rgb"
    precision: str = "float32"
    winograd: dict[str, float] = field(default_factory=dict)
    map_centres: dict[str, dict[str, Any]] | None = None
    digest: str = ""
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

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of model.json."""
        return asdict(self)

    def axes(self) -> list[tuple[float, int, int]]:
        """Returns (centre of cell 0, stride, number of cells) of a map's time, height and width."""
        if self.map_centres is not None:
            axes = (self.map_centres[name] for name in AXES)
            return [(axis["start"], axis["stride"], axis["size"]) for axis in axes]
        # Older exports: the middles of the stride boxes.
        sizes = (self.frames, self.height, self.width)
        return [((s - 1) / 2, s, -(-size // s)) for size, s in zip(sizes, self.strides)]
