"""The record: the one place that names its features, encodes it and parses it.

A record is one `tf.train.SequenceExample`: a clip, its labels, and (where there is one) its
conjugate: the same scene without the action. Names follow MediaSequence.

    context        example/id                        string
                   clip/media_id                     string   file the clip was cut from
                   clip/label/index                  int64 *  line in labels.txt; empty: no action
                   clip/label/string                 string * the same labels by name
                   clip/start/timestamp              int64    microseconds in the file
                   clip/end/timestamp                int64    microseconds in the file, exclusive
                   image/frame_rate                  float    frames a second, clip and conjugate
                   image/height, image/width         int64    pixels, clip, conjugate and mask
                   image/format                      string   "JPEG" or "PNG"
                   clip/decoy                        int64    1: a part of the clip without people
                                                              was filled; absent: none was
                   CONJUGATE/clip/media_id, CONJUGATE/clip/{start,end}/timestamp
                                                     as above; absent: no conjugate
    feature lists  image/encoded                     string   one JPEG (4:4:4) or PNG a frame
                   image/timestamp                   int64    microseconds in the file
                   CONJUGATE/image/encoded           string   as image/encoded; any length
                   CLASS_SEGMENTATION/image/encoded  string   one 0/1 PNG a frame of the clip:
                                                              where the actor is
                   FORWARD_FLOW/image/encoded        string   one PNG of two channels, u and v,
                                                              a frame: see `tfrecords.media.flow`
                   CONJUGATE/FORWARD_FLOW/image/encoded
                                                     string   the same, a frame of the conjugate
                   region/bbox/{xmin,ymin,xmax,ymax} float *  still images: the boxes of the people
                                                              who act, shares 0..1 of width, height

A record of cached features has the context of the record it was made from and, for frames, the
feature maps of a backbone's END_POINT, such as Mixed_5c:

    context        END_POINT/feature/dimensions      int64 4  T, H, W, D, of all its maps
    feature lists  END_POINT/feature/bytes           string   float16, C order; one entry a view
                   CONJUGATE/END_POINT/feature/bytes string   the same, empty where a view has none
                   CLASS_SEGMENTATION/image/encoded  string   as above, a frame of the first view
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional, Sequence

import cv2
import numpy as np
import tensorflow as tf

from tfrecords.dataset import SCHEMA_VERSION as SCHEMA_VERSION  # beside the names it counts
from tfrecords.utils.errors import UsageError, UserError

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


@dataclass(eq=False)
class ClipPair:
    """A clip and its conjugate, decoded.

    Attributes:
        id: unique in its data set.
        clip: uint8 [T, H, W, 3], RGB, T >= 1.
        conjugate: uint8 [T', H, W, 3], or None where there is none.
        labels: names of the clip's actions; empty for a clip with no action.
        fps: frames a second of clip and conjugate.
        mask: bool [T, H, W], True where the actor is, or None where it is not known.
        media_id: the file the clip was cut from, as its data set names it.
        start, end: seconds in that file; `end` None: start + T / fps.
        conjugate_media_id, conjugate_start, conjugate_end: the same of the conjugate; None: the
            clip's own.
        boxes: of the people who act in a still image (T = 1), float32 [n, 4]: xmin, ymin, xmax,
            ymax as shares 0..1 of width and height; None where they are not known.
        flow: uint8 [T, H, W, 2], optical flow of the clip as `tfrecords.media.flow` has it, or
            None.
        conjugate_flow: uint8 [T', H, W, 2], that of the conjugate; there where both are.
        decoy: whether a part of the clip without people was filled as the conjugate's hole is.

    Raises:
        ValueError: a shape, dtype or value is not as above.
    """

    id: str
    clip: np.ndarray
    conjugate: Optional[np.ndarray]
    labels: Sequence[str]
    fps: float = 25.0
    mask: Optional[np.ndarray] = None
    media_id: str = ""
    start: float = 0.0
    end: Optional[float] = None
    conjugate_media_id: Optional[str] = None
    conjugate_start: Optional[float] = None
    conjugate_end: Optional[float] = None
    boxes: Optional[np.ndarray] = None
    flow: Optional[np.ndarray] = None
    conjugate_flow: Optional[np.ndarray] = None
    decoy: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.labels, str):
            raise self._error("labels as a sequence of names", f"the string {self.labels!r}")
        self.labels = tuple(self.labels)
        self._check_frames("clip", self.clip)
        if self.conjugate is not None:
            self._check_frames("conjugate", self.conjugate)
            if self.conjugate.shape[1:3] != self.clip.shape[1:3]:
                raise self._error(
                    f"a conjugate of the clip's height and width {self.clip.shape[1:3]}",
                    self.conjugate.shape[1:3],
                )
        if self.mask is not None:
            self.mask = np.asarray(self.mask)
            if self.mask.dtype != bool or self.mask.shape != self.clip.shape[:3]:
                raise self._error(
                    f"mask as bool {self.clip.shape[:3]}, aligned to the clip",
                    f"{self.mask.dtype} {self.mask.shape}",
                )
        if self.boxes is not None:
            self._check_boxes()
        self._check_flow()
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise self._error("fps above 0", self.fps)
        if self.end is None:
            self.end = self.start + len(self.clip) / self.fps

    def _check_frames(self, name: str, frames: np.ndarray) -> None:
        frames = np.asarray(frames)
        shape = frames.shape
        if frames.dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
            raise self._error(
                f"{name} as uint8 [T, H, W, 3] with T, H, W >= 1", f"{frames.dtype} {shape}"
            )

    def _check_boxes(self) -> None:
        if len(self.clip) != 1:
            raise self._error("boxes with a still image only", f"a clip of {len(self.clip)} frames")
        self.boxes = np.asarray(self.boxes, np.float32)
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise self._error("boxes as [n, 4]", self.boxes.shape)
        inside = (self.boxes >= 0) & (self.boxes <= 1)
        if not inside.all() or (self.boxes[:, :2] >= self.boxes[:, 2:]).any():
            raise self._error(
                "boxes of 0 <= xmin < xmax <= 1 and 0 <= ymin < ymax <= 1", self.boxes.tolist()
            )

    def _check_flow(self) -> None:
        if (self.conjugate_flow is None) != (self.flow is None or self.conjugate is None):
            what = "none" if self.conjugate_flow is None else "one"
            raise self._error("conjugate_flow where both flow and conjugate are, only there", what)
        for name, flow, frames in (
            ("flow", self.flow, self.clip),
            ("conjugate_flow", self.conjugate_flow, self.conjugate),
        ):
            if flow is None:
                continue
            shape = (*frames.shape[:3], 2)
            if flow.dtype != np.uint8 or flow.shape != shape:
                raise self._error(f"{name} as uint8 {shape}", f"{flow.dtype} {flow.shape}")

    def _error(self, expected: str, received: object) -> ValueError:
        return ValueError(f"Record {self.id!r}: Expected {expected}. Received {received}.")


def encode(
    pair: ClipPair,
    label_ids: Mapping[str, int],
    image_format: str = "JPEG",
    quality: int = 95,
) -> bytes:
    """Serialises a pair; the same pair gives the same bytes on every run.

    Args:
        pair: what to store.
        label_ids: name -> line in labels.txt.
        image_format: "JPEG" (4:4:4: default chroma subsampling costs four times the error on small
            frames) or "PNG" (without loss). Masks and optical flow are PNG always.
        quality: of the JPEG, 1..100.

    Raises:
        UsageError: a label of the pair is not in `label_ids`, or the format is not known.
    """
    if image_format not in IMAGE_FORMATS:
        raise UsageError(
            f"Expected image_format to be one of {IMAGE_FORMATS}, received {image_format!r}."
        )
    unknown = [label for label in pair.labels if label not in label_ids]
    if unknown:
        raise UsageError(
            f"Record {pair.id!r}: expected labels among {', '.join(label_ids)}, "
            f"received {unknown[0]!r}."
        )
    length, height, width, _ = pair.clip.shape
    context = {
        EXAMPLE_ID: _bytes(pair.id),
        MEDIA_ID: _bytes(pair.media_id),
        LABEL_INDEX: _ints(*(label_ids[label] for label in pair.labels)),
        LABEL_STRING: _bytes(*pair.labels),
        CLIP_START: _ints(_microseconds(pair.start)),
        CLIP_END: _ints(_microseconds(pair.end)),
        FRAME_RATE: _floats(pair.fps),
        HEIGHT: _ints(height),
        WIDTH: _ints(width),
        FORMAT: _bytes(image_format),
    }
    if pair.decoy:
        context[DECOY] = _ints(1)
    lists = {
        FRAMES: [_bytes(_encode_image(frame, image_format, quality)) for frame in pair.clip],
        TIMESTAMPS: [_ints(_microseconds(pair.start + n / pair.fps)) for n in range(length)],
    }
    if pair.conjugate is not None:
        media_id, start, end = _conjugate_place(pair)
        context[CONJUGATE + MEDIA_ID] = _bytes(media_id)
        context[CONJUGATE + CLIP_START] = _ints(_microseconds(start))
        context[CONJUGATE + CLIP_END] = _ints(_microseconds(end))
        lists[CONJUGATE + FRAMES] = [
            _bytes(_encode_image(frame, image_format, quality)) for frame in pair.conjugate
        ]
    if pair.mask is not None:
        lists[MASKS] = [_bytes(_encode_image(frame.view(np.uint8), "PNG")) for frame in pair.mask]
    if pair.boxes is not None:
        lists.update({name: [_floats(*edges)] for name, edges in zip(BOXES, pair.boxes.T)})
    for name, flow in ((FLOW, pair.flow), (CONJUGATE + FLOW, pair.conjugate_flow)):
        if flow is not None:
            # OpenCV writes no image of two channels.
            lists[name] = [_bytes(image) for image in tf.io.encode_png(flow).numpy()]
    example = tf.train.SequenceExample(
        context=tf.train.Features(feature=context),
        feature_lists=tf.train.FeatureLists(
            feature_list={name: tf.train.FeatureList(feature=f) for name, f in lists.items()}
        ),
    )
    return example.SerializeToString(deterministic=True)


def parse(
    serialized: tf.Tensor,
    masks: bool = True,
    boxes: bool = False,
    rgb: bool = True,
    flow: bool = False,
) -> dict[str, tf.Tensor]:
    """Parses one record inside a graph; frames stay encoded.

    Args:
        serialized: string scalar.
        masks: whether to fetch the masks.
        boxes: whether to fetch the boxes.
        rgb: whether to fetch the frames of clip and conjugate.
        flow: whether to fetch the optical flow of clip and conjugate.

    Returns:
        id string [], labels int64 [n], fps float32 [], clip string [T], conjugate string [T']
        (empty: none) and, if asked for, mask string [T] (empty: none), boxes float32 [n, 4] as
        in `ClipPair` (a still image with none, and a clip, have none), flow string [T] and
        conjugate_flow string [T'] (empty: none).
    """
    frames = tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)
    required = tf.io.FixedLenSequenceFeature([], tf.string)
    pairs = {}  # of frames: their names -> that of the feature
    if rgb:
        pairs[RGB_PAIR] = FRAMES
    if flow:
        pairs[FLOW_PAIR] = FLOW
    lists = {}
    for feature in pairs.values():
        lists.update({feature: required, CONJUGATE + feature: frames})
    if masks:
        lists[MASKS] = frames
    if boxes:
        lists.update({name: tf.io.RaggedFeature(tf.float32) for name in BOXES})
    context, sequences = tf.io.parse_single_sequence_example(
        serialized,
        context_features={
            EXAMPLE_ID: tf.io.FixedLenFeature([], tf.string),
            LABEL_INDEX: tf.io.RaggedFeature(tf.int64),
            FRAME_RATE: tf.io.FixedLenFeature([], tf.float32),
        },
        sequence_features=lists,
    )
    record = {
        "id": context[EXAMPLE_ID],
        "labels": context[LABEL_INDEX],
        "fps": context[FRAME_RATE],
    }
    for (clip, conjugate), feature in pairs.items():
        record.update({clip: sequences[feature], conjugate: sequences[CONJUGATE + feature]})
    if masks:
        record["mask"] = sequences[MASKS]
    if boxes:
        record["boxes"] = tf.stack([sequences[name].flat_values for name in BOXES], axis=-1)
    return record


def decode(serialized: bytes) -> ClipPair:
    """The inverse of `encode`, in numpy (JPEG frames come back nearly, all else exactly).

    Raises:
        UserError: the bytes are not a record of this schema.
    """
    try:
        example = tf.train.SequenceExample.FromString(serialized)
        context = example.context.feature
        lists = example.feature_lists.feature_list
        has_conjugate = CONJUGATE + FRAMES in lists
        boxes = None
        if BOXES[0] in lists:
            boxes = np.stack([lists[name].feature[0].float_list.value for name in BOXES], axis=-1)

        def text(name: str) -> str:
            return context[name].bytes_list.value[0].decode()

        def seconds(name: str) -> float:
            return context[name].int64_list.value[0] / MICROSECONDS

        def images(name: str, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
            encoded = (feature.bytes_list.value[0] for feature in lists[name].feature)
            return np.stack([_decode_image(image, flags) for image in encoded])

        def flows(name: str) -> Optional[np.ndarray]:
            if name not in lists:
                return None
            encoded = (feature.bytes_list.value[0] for feature in lists[name].feature)
            return np.stack([tf.io.decode_png(image).numpy() for image in encoded])

        return ClipPair(
            id=text(EXAMPLE_ID),
            clip=images(FRAMES),
            conjugate=images(CONJUGATE + FRAMES) if has_conjugate else None,
            labels=tuple(value.decode() for value in context[LABEL_STRING].bytes_list.value),
            fps=context[FRAME_RATE].float_list.value[0],
            mask=images(MASKS, cv2.IMREAD_GRAYSCALE) > 0 if MASKS in lists else None,
            media_id=text(MEDIA_ID),
            start=seconds(CLIP_START),
            end=seconds(CLIP_END),
            conjugate_media_id=text(CONJUGATE + MEDIA_ID) if has_conjugate else None,
            conjugate_start=seconds(CONJUGATE + CLIP_START) if has_conjugate else None,
            conjugate_end=seconds(CONJUGATE + CLIP_END) if has_conjugate else None,
            boxes=boxes,
            flow=flows(FLOW),
            conjugate_flow=flows(CONJUGATE + FLOW),
            decoy=DECOY in context,
        )
    except Exception as error:  # protobuf, OpenCV and numpy each raise their own kinds
        reason = " ".join(str(error).split())
        raise UserError(
            f"Expected a record of schema version {SCHEMA_VERSION}, received {len(serialized)} "
            f"bytes that cannot be decoded ({type(error).__name__}: {reason})."
        ) from error


def encode_features(
    serialized: bytes,
    end_point: str,
    maps: Sequence[np.ndarray],
    conjugates: Sequence[Optional[np.ndarray]],
    mask: Optional[np.ndarray] = None,
) -> bytes:
    """A record of cached features.

    Args:
        serialized: the record they were made from.
        end_point: of the backbone.
        maps: of each view, float16 [T, H, W, D], all of one shape.
        conjugates: the same of the conjugates, None for a view without; empty: of no view.
        mask: uint8 [t, h, w] of 0 and 1, of the frames of the first view.
    """
    example = tf.train.SequenceExample.FromString(serialized)
    example.context.feature[end_point + DIMENSIONS].CopyFrom(_ints(*maps[0].shape))
    example.ClearField("feature_lists")
    lists = {end_point + MAPS: [_bytes(values.tobytes()) for values in maps]}
    if conjugates:
        entries = (b"" if values is None else values.tobytes() for values in conjugates)
        lists[CONJUGATE + end_point + MAPS] = [_bytes(entry) for entry in entries]
    if mask is not None:
        lists[MASKS] = [_bytes(_encode_image(frame, "PNG")) for frame in mask]
    for name, features in lists.items():
        example.feature_lists.feature_list[name].feature.extend(features)
    return example.SerializeToString(deterministic=True)


def parse_features(
    serialized: tf.Tensor, end_point: str, conjugates: bool = True, masks: bool = False
) -> dict[str, tf.Tensor]:
    """Parses one record of cached features inside a graph; maps stay bytes.

    Returns:
        id string [], labels int64 [n], dimensions int64 [4], features string [views] and, if asked
        for, conjugate_features string [views] (an empty string: none), mask string [t] (empty:
        none).
    """
    lists = {end_point + MAPS: tf.io.FixedLenSequenceFeature([], tf.string)}
    if conjugates:
        lists[CONJUGATE + end_point + MAPS] = tf.io.FixedLenSequenceFeature([], tf.string)
    if masks:
        lists[MASKS] = tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)
    context, sequences = tf.io.parse_single_sequence_example(
        serialized,
        context_features={
            EXAMPLE_ID: tf.io.FixedLenFeature([], tf.string),
            LABEL_INDEX: tf.io.RaggedFeature(tf.int64),
            end_point + DIMENSIONS: tf.io.FixedLenFeature([4], tf.int64),
        },
        sequence_features=lists,
    )
    record = {
        "id": context[EXAMPLE_ID],
        "labels": context[LABEL_INDEX],
        "dimensions": context[end_point + DIMENSIONS],
        "features": sequences[end_point + MAPS],
    }
    if conjugates:
        record["conjugate_features"] = sequences[CONJUGATE + end_point + MAPS]
    if masks:
        record["mask"] = sequences[MASKS]
    return record


def decode_features(serialized: bytes) -> dict[str, list[Optional[np.ndarray]]]:
    """The maps in a record of cached features: name of the feature -> one a view, float16.

    Raises:
        UserError: the bytes are not such a record.
    """
    try:
        example = tf.train.SequenceExample.FromString(serialized)
        found = {}
        for name, values in example.feature_lists.feature_list.items():
            if name.endswith(MAPS):
                end_point = name[: -len(MAPS)].removeprefix(CONJUGATE)
                shape = example.context.feature[end_point + DIMENSIONS].int64_list.value
                entries = [feature.bytes_list.value[0] for feature in values.feature]
                found[name] = [
                    np.frombuffer(entry, np.float16).reshape(shape) if entry else None
                    for entry in entries
                ]
        if not found:
            raise ValueError("it holds no feature maps")
        return found
    except Exception as error:  # as in `decode`
        reason = " ".join(str(error).split())
        raise UserError(
            f"Expected a record of cached features, received {len(serialized)} bytes that cannot "
            f"be decoded ({type(error).__name__}: {reason})."
        ) from error


def _conjugate_place(pair: ClipPair) -> tuple[str, float, float]:
    """File, start and end of the conjugate: where not given, the clip's own start and file."""
    media_id = pair.media_id if pair.conjugate_media_id is None else pair.conjugate_media_id
    start = pair.start if pair.conjugate_start is None else pair.conjugate_start
    end = pair.conjugate_end
    return media_id, start, start + len(pair.conjugate) / pair.fps if end is None else end


def _encode_image(image: np.ndarray, image_format: str, quality: int = 95) -> bytes:
    if image.ndim == 3:
        image = image[..., ::-1]  # OpenCV's order is BGR
    if image_format == "JPEG":
        options = [
            cv2.IMWRITE_JPEG_QUALITY,
            quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ]
        return cv2.imencode(".jpg", image, options)[1].tobytes()
    return cv2.imencode(".png", image)[1].tobytes()


def _decode_image(encoded: bytes, flags: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    return image[..., ::-1] if image.ndim == 3 else image


def _microseconds(seconds: float) -> int:
    return round(seconds * MICROSECONDS)


def _bytes(*values: str | bytes) -> tf.train.Feature:
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))


def _ints(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(*values: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
