"""The names of a record's features, see `tfrecords.records.codec`, and the kinds of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Tuple

EXAMPLE_ID = "example/id"
MEDIA_ID = "clip/media_id"
LABEL_INDEX = "clip/label/index"
LABEL_STRING = "clip/label/string"
CLIP_START = "clip/start/timestamp"
CLIP_END = "clip/end/timestamp"
FRAME_RATE = "image/frame_rate"
HEIGHT = "image/height"
WIDTH = "image/width"
FORMAT = "image/format"
FRAMES = "image/encoded"
TIMESTAMPS = "image/timestamp"
DECOY = "clip/decoy"  # 1, or not there
CONJUGATE = "CONJUGATE/"  # prefix of every name that belongs to the conjugate
CONJUGATE_KIND = "CONJUGATE/kind"  # where each clip has its own origin
MASKS = "CLASS_SEGMENTATION/image/encoded"
MASK_ORIGIN = "CLASS_SEGMENTATION/origin"  # one of `MASK_ORIGINS`; absent: annotated
ANNOTATED, AUTOMATIC = "annotated", "auto:"  # the latter before the method
MASK_ORIGINS = (ANNOTATED, f"{AUTOMATIC}mediapipe", f"{AUTOMATIC}motion")
FLOW_FRAMES = "FORWARD_FLOW/image/encoded"
FLOW_CHANNELS = (2, 3)  # of its pictures: u and v, in later records also 0
MAPS = "/feature/bytes"  # behind the name of the end point
DIMENSIONS = "/feature/dimensions"
BOXES = tuple(f"region/bbox/{edge}" for edge in ("xmin", "ymin", "xmax", "ymax"))
IMAGE_FORMATS = ("JPEG", "PNG")
MICROSECONDS = 1_000_000
MAX_PIXELS = 1 << 26  # of a frame, as when videos are decoded


@dataclass(frozen=True)
class Stream:
    """One kind of frames of a clip and its conjugate.

    Attributes:
        name: Name of the network that sees it.
        channels: Channels of a frame.
        pair: Names of clip and conjugate in `ClipPair`, in a parsed record and in a batch.
        feature: Feature of a record that holds the clip; the conjugate's has the prefix.
        served: Input of a served model.
    """

    name: str
    channels: int
    pair: Tuple[str, str]
    feature: str
    served: str


RGB = Stream("rgb", 3, ("clip", "conjugate"), FRAMES, "frames")
FLOW = Stream("flow", 2, ("flow", "conjugate_flow"), FLOW_FRAMES, "flow")
STREAMS = (RGB, FLOW)


@dataclass(frozen=True)
class Modality:
    """The streams that a model sees."""

    streams: Tuple[Stream, ...]

    @property
    def pairs(self) -> List[Tuple[Stream, Tuple[str, str]]]:
        """Each stream with the names of clip and conjugate in a batch; flow alone is the clip."""
        alone = len(self.streams) == 1
        return [(stream, RGB.pair if alone else stream.pair) for stream in self.streams]

    @property
    def inputs(self) -> Dict[str, Stream]:
        """Name of a clip in a batch -> its stream."""
        return {pair[0]: stream for stream, pair in self.pairs}


MODALITIES = {
    "rgb": Modality((RGB,)),
    "flow": Modality((FLOW,)),
    "two_stream": Modality((RGB, FLOW)),
}
