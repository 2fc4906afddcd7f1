"""Encodes, parses and decodes records of cached features.

For their layout see `tfrecords.records.codec`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Dict, List, Optional, Sequence

import numpy as np
import tensorflow as tf

from tfrecords.records.codec import bytes_feature, encode_image, ints_feature, is_automatic
from tfrecords.records.dataset import FEATURES, load_info
from tfrecords.records.example import Example
from tfrecords.records.names import (
    CONJUGATE,
    DIMENSIONS,
    EXAMPLE_ID,
    LABEL_INDEX,
    MAPS,
    MASK_ORIGIN,
    MASKS,
)
from tfrecords.utils.atomic import StrPath, write_json
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import to_path
from tfrecords.utils.json_files import Limits, read_json


def encode_features(
    serialized: bytes,
    end_point: str,
    maps: Sequence[np.ndarray],
    conjugates: Sequence[Optional[np.ndarray]],
    mask: Optional[np.ndarray] = None,
) -> bytes:
    """Serialises a record of cached features.

    Args:
        serialized: Record that the features were made from.
        end_point: End point of the backbone.
        maps: Map of each view, float16 [T, H, W, D], all of one shape.
        conjugates: Map of each view's conjugate, None for a view without; empty: no conjugates.
        mask: Mask of the frames of the first view, uint8 [t, h, w] of 0 and 1; None: no mask.
    """
    example = tf.train.SequenceExample.FromString(serialized)
    example.context.feature[end_point + DIMENSIONS].CopyFrom(ints_feature(*maps[0].shape))
    example.ClearField("feature_lists")
    lists = {end_point + MAPS: [bytes_feature(values.tobytes()) for values in maps]}
    if conjugates:
        entries = (b"" if values is None else values.tobytes() for values in conjugates)
        lists[CONJUGATE + end_point + MAPS] = [bytes_feature(entry) for entry in entries]
    if mask is not None:
        lists[MASKS] = [bytes_feature(encode_image(frame, "PNG")) for frame in mask]
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
        none) and automatic bool [], as `codec.parse`.
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
            MASK_ORIGIN: tf.io.FixedLenFeature([], tf.string, ""),
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
        record["automatic"] = is_automatic(context[MASK_ORIGIN])
    return record


def decode_features(serialized: bytes) -> dict[str, list[Optional[np.ndarray]]]:
    """Decodes a record of cached features: name of the feature -> a map of each view, float16.

    Raises:
        UserError: The bytes are not such a record.
    """
    try:
        example, maps = Example(serialized), {}
        for name in example.lists:
            if name.endswith(MAPS):
                end_point = name[: -len(MAPS)].removeprefix(CONJUGATE)
                maps[name] = _decode_maps(example, name, end_point + DIMENSIONS)
        if not maps:
            raise UserError("it holds no feature maps")
        return maps
    except UserError as error:
        raise UserError(
            f"Expected a record of cached features, received {len(serialized)} bytes that cannot "
            f"be decoded ({error})."
        ) from error


def _decode_maps(example: Example, name: str, dimensions: str) -> list[Optional[np.ndarray]]:
    shape = example.values(dimensions, int)
    if len(shape) != 4 or min(shape) < 1:
        raise UserError(f"{dimensions}: expected T, H, W, D of 1 or more, received {shape}")
    size, maps = 2 * math.prod(shape), []
    for n, entry in enumerate(example.entries(name, bytes)):
        if len(entry) not in (0, size):
            raise UserError(
                f"{name}, entry {n}: expected {size} bytes of float16 for {shape}, received "
                f"{len(entry)}"
            )
        maps.append(np.frombuffer(entry, np.float16).reshape(shape) if entry else None)
    return maps


FEATURES_FILE = "features.json"
MAX_CELLS = 1 << 30  # numbers in a map, or in the mask of a clip: beyond it a file is damaged
Side = Annotated[int, Limits(1, 1 << 26)]


@dataclass
class FeatureInfo:
    """The content of `features.json`.

    Attributes:
        end_point: End point of the backbone, in the names of the records' maps.
        views: Number of views of each record of `train`; records of other splits have one.
        conjugates: Whether the records hold maps of conjugates.
        shapes: Split -> [T, H, W, D] of its maps, None for sides in which records differ.
        frames: [T, height, width] of the masks, None for sides in which records differ.
        made_from: Everything the maps depend on, for people to read.
    """

    end_point: str
    views: Annotated[int, Limits(1, 1 << 20)]
    conjugates: bool
    shapes: Dict[str, Annotated[List[Optional[Side]], Limits(0, 4)]]
    frames: Annotated[List[Optional[Side]], Limits(3, 3)]
    made_from: Dict[str, Any]

    def __post_init__(self) -> None:
        for shape in (*self.shapes.values(), self.frames):
            cells = math.prod(side or 1 for side in shape)
            if cells > MAX_CELLS:
                raise ValueError(
                    f"expected shapes of at most {MAX_CELLS:,} cells, received {shape}"
                )

    def write(self, directory: StrPath) -> None:
        """Writes `features.json`."""
        write_json(to_path(directory) / FEATURES_FILE, asdict(self))

    @classmethod
    def load(cls, directory: StrPath) -> FeatureInfo:
        """Reads `features.json`.

        Raises:
            UsageError: The directory holds no cached features.
            UserError: The file is corrupt.
        """
        path, info = to_path(directory) / FEATURES_FILE, load_info(directory)
        if info.modality != FEATURES:
            raise UsageError(f"Expected cached features in {directory}, received another data set.")
        loaded = read_json(path, cls)
        for split in info.filled_splits:
            if len(loaded.shapes.get(split, ())) != 4:
                raise UserError(
                    f"{path}: expected shapes.{split} to be [T, H, W, D], received "
                    f"{loaded.shapes.get(split)}."
                )
        return loaded
