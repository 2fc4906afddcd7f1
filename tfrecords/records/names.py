"""The names of a record's features, see `tfrecords.records.codec`."""

from __future__ import annotations

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
MASKS = "CLASS_SEGMENTATION/image/encoded"
FLOW = "FORWARD_FLOW/image/encoded"
MAPS = "/feature/bytes"  # behind the name of the end point
DIMENSIONS = "/feature/dimensions"
BOXES = tuple(f"region/bbox/{edge}" for edge in ("xmin", "ymin", "xmax", "ymax"))

# A clip and its conjugate, as they are called in `ClipPair`, in a parsed record and in a batch.
RGB_PAIR = ("clip", "conjugate")
FLOW_PAIR = ("flow", "conjugate_flow")
IMAGE_FORMATS = ("JPEG", "PNG")
MICROSECONDS = 1_000_000
