"""The layout of a record; encodes a pair as one, parses and decodes it.

A record is one `tf.train.SequenceExample`: a clip, its labels, and optionally its conjugate, the
same scene without the action. Names follow MediaSequence.

    context        example/id                        string
                   clip/media_id                     string   file the clip was cut from
                   clip/label/index                  int64 *  line in labels.txt; empty: no action
                   clip/label/string                 string * the same labels by name
                   clip/start/timestamp              int64    microseconds in the file
                   clip/end/timestamp                int64    microseconds in the file, exclusive
                   image/frame_rate                  float    frames a second, clip and conjugate
                   image/height, image/width         int64    pixels, clip, conjugate and mask
                   image/format                      string   "JPEG" or "PNG"
                   FORWARD_FLOW/image/format         string   "PNG", and CONJUGATE/... likewise
                   clip/decoy                        int64    1: a part of the clip without people
                                                              was filled; absent: none was
                   CONJUGATE/clip/media_id, CONJUGATE/clip/{start,end}/timestamp
                                                     as above; absent: no conjugate
                   CONJUGATE/kind                    string   its origin, where each has its own
                   CLASS_SEGMENTATION/origin         string   of the masks: "annotated",
                                                              "auto:mediapipe", "auto:motion";
                                                              absent: annotated
    feature lists  image/encoded                     string   one JPEG (4:4:4) or PNG a frame
                   image/timestamp                   int64    microseconds in the file
                   CONJUGATE/image/encoded           string   as image/encoded; any length
                   CLASS_SEGMENTATION/image/encoded  string   one 0/1 PNG a frame of the clip:
                                                              where the actor is
                   FORWARD_FLOW/image/encoded        string   one PNG of three channels a frame,
                                                              u, v and 0: `tfrecords.media.flow`
                   FORWARD_FLOW/image/timestamp      int64    as image/timestamp
                   CONJUGATE/FORWARD_FLOW/image/{encoded,timestamp}
                                                     string   the same, a frame of the conjugate
                   region/bbox/{xmin,ymin,xmax,ymax} float *  still images: the boxes of the people
                                                              who act, shares 0..1 of width, height

Flow of earlier records, in two channels and without times and format, is read as well; other
software takes pictures of two channels for gray ones with transparency.

A record of cached features has the context of the record it was made from and, for frames, the
feature maps of a backbone's END_POINT, such as Mixed_5c:

    context        END_POINT/feature/dimensions      int64 4  T, H, W, D, of all its maps
    feature lists  END_POINT/feature/bytes           string   float16, C order; one entry a view
                   CONJUGATE/END_POINT/feature/bytes string   the same, empty where a view has none
                   CLASS_SEGMENTATION/image/encoded  string   as above, a frame of the first view
"""

from __future__ import annotations

from typing import Mapping, Optional, Sequence

import cv2
import numpy as np
import tensorflow as tf

from tfrecords.records import names
from tfrecords.records.clip_pair import ClipPair
from tfrecords.records.dataset import SCHEMA_VERSION as SCHEMA_VERSION  # beside the names it counts
from tfrecords.records.example import PNG, Example
from tfrecords.utils.errors import UsageError, UserError


def encode(
    pair: ClipPair,
    label_ids: Mapping[str, int],
    image_format: str = "JPEG",
    quality: int = 95,
) -> bytes:
    """Serialises a pair; the same pair gives the same bytes in every run.

    Args:
        pair: Pair to store.
        label_ids: Name of a label -> line in labels.txt.
        image_format: "JPEG" (4:4:4: default chroma subsampling costs four times the error on small
            frames) or "PNG" (lossless). Masks and optical flow are always PNG.
        quality: JPEG quality, 1..100; default 95.

    Raises:
        UsageError: A label of the pair is not in `label_ids`, or the format is not known.
    """
    if image_format not in names.IMAGE_FORMATS:
        raise UsageError(
            f"Expected image_format to be one of {names.IMAGE_FORMATS}, received {image_format!r}."
        )
    unknown = [label for label in pair.labels if label not in label_ids]
    if unknown:
        raise UsageError(
            f"Record {pair.id!r}: expected labels among {', '.join(label_ids)}, "
            f"received {unknown[0]!r}."
        )
    length, height, width, _ = pair.clip.shape
    context = {
        names.EXAMPLE_ID: bytes_feature(pair.id),
        names.MEDIA_ID: bytes_feature(pair.media_id),
        names.LABEL_INDEX: ints_feature(*(label_ids[label] for label in pair.labels)),
        names.LABEL_STRING: bytes_feature(*pair.labels),
        names.CLIP_START: ints_feature(_microseconds(pair.start)),
        names.CLIP_END: ints_feature(_microseconds(pair.end)),
        names.FRAME_RATE: floats_feature(pair.fps),
        names.HEIGHT: ints_feature(height),
        names.WIDTH: ints_feature(width),
        names.FORMAT: bytes_feature(image_format),
    }
    if pair.decoy:
        context[names.DECOY] = ints_feature(1)
    lists = {
        names.FRAMES: [
            bytes_feature(encode_image(frame, image_format, quality)) for frame in pair.clip
        ],
        names.TIMESTAMPS: [
            ints_feature(_microseconds(pair.start + n / pair.fps)) for n in range(length)
        ],
    }
    if pair.conjugate is not None:
        media_id, start, end = _conjugate_place(pair, len(pair.conjugate))
        context[names.CONJUGATE + names.MEDIA_ID] = bytes_feature(media_id)
        context[names.CONJUGATE + names.CLIP_START] = ints_feature(_microseconds(start))
        context[names.CONJUGATE + names.CLIP_END] = ints_feature(_microseconds(end))
        if pair.conjugate_kind:
            context[names.CONJUGATE_KIND] = bytes_feature(pair.conjugate_kind)
        lists[names.CONJUGATE + names.FRAMES] = [
            bytes_feature(encode_image(frame, image_format, quality)) for frame in pair.conjugate
        ]
    if pair.mask is not None:
        lists[names.MASKS] = [
            bytes_feature(encode_image(frame.view(np.uint8), "PNG")) for frame in pair.mask
        ]
        if pair.mask_origin:
            context[names.MASK_ORIGIN] = bytes_feature(pair.mask_origin)
    if pair.boxes is not None:
        lists.update(
            {name: [floats_feature(*edges)] for name, edges in zip(names.BOXES, pair.boxes.T)}
        )
    for name, flow in (
        (names.FLOW_FRAMES, pair.flow),
        (names.CONJUGATE + names.FLOW_FRAMES, pair.conjugate_flow),
    ):
        if flow is not None:
            start = pair.start
            if name.startswith(names.CONJUGATE):
                _, start, _ = _conjugate_place(pair, len(flow))
            codes = np.pad(flow, [(0, 0), (0, 0), (0, 0), (0, 1)])
            lists[name] = [bytes_feature(image) for image in tf.io.encode_png(codes).numpy()]
            beside = name.removesuffix(names.FRAMES)
            context[beside + names.FORMAT] = bytes_feature("PNG")
            lists[beside + names.TIMESTAMPS] = [
                ints_feature(_microseconds(start + n / pair.fps)) for n in range(len(flow))
            ]
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
    streams: Sequence[names.Stream] = (names.RGB,),
) -> dict[str, tf.Tensor]:
    """Parses one record inside a graph; frames stay encoded.

    Args:
        serialized: Record, string scalar.
        masks: Whether to fetch the masks.
        boxes: Whether to fetch the boxes.
        streams: Kinds of frames to fetch, of clip and conjugate.

    Returns:
        id string [], labels int64 [n], fps float32 [], clip string [T], conjugate string [T']
        (empty: none) and, if asked for, mask string [T] (empty: none) with automatic bool [],
        whether a program found it, boxes float32 [n, 4] as in `ClipPair` (a still image with none,
        and a clip, have none), flow string [T] and conjugate_flow string [T'] (empty: none).
    """
    frames = tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)
    required = tf.io.FixedLenSequenceFeature([], tf.string)
    lists, origin = {}, {}
    for stream in streams:
        lists.update({stream.feature: required, names.CONJUGATE + stream.feature: frames})
    if masks:
        lists[names.MASKS] = frames
        origin[names.MASK_ORIGIN] = tf.io.FixedLenFeature([], tf.string, "")
    if boxes:
        lists.update({name: tf.io.RaggedFeature(tf.float32) for name in names.BOXES})
    context, sequences = tf.io.parse_single_sequence_example(
        serialized,
        context_features={
            names.EXAMPLE_ID: tf.io.FixedLenFeature([], tf.string),
            names.LABEL_INDEX: tf.io.RaggedFeature(tf.int64),
            names.FRAME_RATE: tf.io.FixedLenFeature([], tf.float32),
            **origin,
        },
        sequence_features=lists,
    )
    record = {
        "id": context[names.EXAMPLE_ID],
        "labels": context[names.LABEL_INDEX],
        "fps": context[names.FRAME_RATE],
    }
    for stream in streams:
        features = (stream.feature, names.CONJUGATE + stream.feature)
        record.update(zip(stream.pair, (sequences[feature] for feature in features)))
    if masks:
        record["mask"] = sequences[names.MASKS]
        record["automatic"] = is_automatic(context[names.MASK_ORIGIN])
    if boxes:
        record["boxes"] = tf.stack([sequences[name].flat_values for name in names.BOXES], axis=-1)
    return record


def is_automatic(origin: tf.Tensor) -> tf.Tensor:
    """Returns whether masks of an origin, string [], were found by a program: bool []."""
    return tf.strings.regex_full_match(origin, f"{names.AUTOMATIC}.*")


def known_masks(record: dict[str, tf.Tensor], automatic: bool) -> tf.Tensor:
    """Returns the masks of a parsed record, string [T]; none if they are automatic and unwanted."""
    wanted = tf.cast(tf.logical_or(automatic, tf.logical_not(record["automatic"])), tf.int32)
    return record["mask"][: wanted * tf.size(record["mask"])]


def decode(serialized: bytes) -> ClipPair:
    """Decodes a record in numpy, the inverse of `encode` (exact but for JPEG frames).

    Raises:
        UserError: The bytes are not a record of this schema.
    """
    try:
        example = Example(serialized)
        size = example.frame_size()
        paired = names.CONJUGATE + names.FRAMES in example
        boxes = None
        if names.BOXES[0] in example:
            boxes = np.stack([example.row(name, float) for name in names.BOXES], axis=-1)

        def seconds(name: str) -> float:
            return example.value(name, int) / names.MICROSECONDS

        def images(name: str, channels: int = 3) -> np.ndarray:
            pictures = example.pictures(name, size)
            shape = (len(pictures), *size) if channels == 1 else (len(pictures), *size, channels)
            stack = np.empty(shape, np.uint8)
            for n, encoded in enumerate(pictures):
                stack[n] = decode_image(encoded, channels)
            return stack

        def flows(name: str) -> Optional[np.ndarray]:
            return images(name, 2) if name in example else None

        return ClipPair(
            id=example.value(names.EXAMPLE_ID, str),
            clip=images(names.FRAMES),
            conjugate=images(names.CONJUGATE + names.FRAMES) if paired else None,
            labels=tuple(example.values(names.LABEL_STRING, str)),
            fps=example.value(names.FRAME_RATE, float),
            mask=images(names.MASKS, 1) > 0 if names.MASKS in example else None,
            media_id=example.value(names.MEDIA_ID, str),
            start=seconds(names.CLIP_START),
            end=seconds(names.CLIP_END),
            conjugate_media_id=example.value(names.CONJUGATE + names.MEDIA_ID, str)
            if paired
            else None,
            conjugate_start=seconds(names.CONJUGATE + names.CLIP_START) if paired else None,
            conjugate_end=seconds(names.CONJUGATE + names.CLIP_END) if paired else None,
            boxes=boxes,
            flow=flows(names.FLOW_FRAMES),
            conjugate_flow=flows(names.CONJUGATE + names.FLOW_FRAMES),
            decoy=names.DECOY in example,
            conjugate_kind=example.value(names.CONJUGATE_KIND, str)
            if names.CONJUGATE_KIND in example
            else "",
            mask_origin=example.value(names.MASK_ORIGIN, str)
            if names.MASK_ORIGIN in example
            else "",
        )
    except (UserError, ValueError, cv2.error, tf.errors.OpError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"Expected a record of schema version {SCHEMA_VERSION}, received {len(serialized)} "
            f"bytes that cannot be decoded ({reason})."
        ) from error


def _conjugate_place(pair: ClipPair, frames: int) -> tuple[str, float, float]:
    """Returns file, start and end of the conjugate, by default the clip's file and start."""
    media_id = pair.media_id if pair.conjugate_media_id is None else pair.conjugate_media_id
    start = pair.start if pair.conjugate_start is None else pair.conjugate_start
    end = pair.conjugate_end
    return media_id, start, start + frames / pair.fps if end is None else end


def decode_image(encoded: bytes, channels: int) -> np.ndarray:
    """Decodes a JPEG or PNG, uint8 [H, W, channels], or [H, W] of one channel.

    Raises:
        UserError: A JPEG is damaged.
        tf.errors.InvalidArgumentError: A PNG is.
    """
    if encoded.startswith(PNG):
        # OpenCV has no images of two channels, and allocates whatever a damaged chunk claims.
        image = tf.io.decode_png(encoded, 0 if channels == 2 else channels).numpy()
        if channels == 2 and image.shape[-1] not in names.FLOW_CHANNELS:
            raise UserError(f"flow in a picture of {image.shape[-1]} channels")
        return image[..., 0] if channels == 1 else image[..., :channels]
    flags = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise UserError("a damaged picture")
    return image[..., ::-1] if channels == 3 else image


def _microseconds(seconds: float) -> int:
    return round(seconds * names.MICROSECONDS)


def encode_image(image: np.ndarray, image_format: str, quality: int = 95) -> bytes:
    """Encodes an image, uint8 [H, W, 3] in names.RGB or [H, W], as "JPEG" or "PNG"."""
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


def bytes_feature(*values: str | bytes) -> tf.train.Feature:
    """Returns a feature of strings."""
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))


def ints_feature(*values: int) -> tf.train.Feature:
    """Returns a feature of integers."""
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def floats_feature(*values: float) -> tf.train.Feature:
    """Returns a feature of floats."""
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
