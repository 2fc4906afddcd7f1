"""Encodes, parses and decodes records of cached features.

For their layout see `tfrecords.records.codec`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import tensorflow as tf

from tfrecords.records.codec import bytes_feature, encode_image, ints_feature
from tfrecords.records.dataset import FEATURES, load_info
from tfrecords.records.names import CONJUGATE, DIMENSIONS, EXAMPLE_ID, LABEL_INDEX, MAPS, MASKS
from tfrecords.utils.atomic import StrPath, write_json
from tfrecords.utils.errors import UsageError, UserError
from tfrecords.utils.filesystem import to_path


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
    """Decodes a record of cached features: name of the feature -> a map of each view, float16.

    Raises:
        UserError: The bytes are not such a record.
    """
    try:
        example = tf.train.SequenceExample.FromString(serialized)
        maps = {}
        for name, values in example.feature_lists.feature_list.items():
            if name.endswith(MAPS):
                end_point = name[: -len(MAPS)].removeprefix(CONJUGATE)
                shape = example.context.feature[end_point + DIMENSIONS].int64_list.value
                entries = [feature.bytes_list.value[0] for feature in values.feature]
                maps[name] = [
                    np.frombuffer(entry, np.float16).reshape(shape) if entry else None
                    for entry in entries
                ]
        if not maps:
            raise ValueError("it holds no feature maps")
        return maps
    except Exception as error:  # as in `decode`
        reason = " ".join(str(error).split())
        raise UserError(
            f"Expected a record of cached features, received {len(serialized)} bytes that cannot "
            f"be decoded ({type(error).__name__}: {reason})."
        ) from error


FEATURES_FILE = "features.json"


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
    views: int
    conjugates: bool
    shapes: Dict[str, List[Optional[int]]]
    frames: List[Optional[int]]
    made_from: Dict[str, Any]

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
        path = to_path(directory) / FEATURES_FILE
        if load_info(directory).modality != FEATURES:
            raise UsageError(f"Expected cached features in {directory}, received another data set.")
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"Expected {path} to describe cached features: {error}.") from error
