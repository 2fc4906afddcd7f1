"""Names the record that TensorFlow could not read."""

from __future__ import annotations

import contextlib
from typing import Iterator

import tensorflow as tf

from tfrecords.records import codec, feature_codec
from tfrecords.records.dataset import (
    FEATURES,
    INFO_FILE,
    load_info,
    shard_paths,
)
from tfrecords.utils.atomic import StrPath
from tfrecords.utils.errors import UserError


@contextlib.contextmanager
def translate_errors(directory: StrPath) -> Iterator[None]:
    """Turns the error of a corrupt record, while a data set is iterated, into a UserError.

    TensorFlow's own error does not name the file, so the shards are read once more to find it. An
    error with another cause passes unchanged.
    """
    try:
        yield
    except (
        tf.errors.DataLossError,
        tf.errors.InvalidArgumentError,
        tf.errors.FailedPreconditionError,
        tf.errors.NotFoundError,
    ) as error:
        _check_records(directory)
        raise error


def _check_records(directory: StrPath) -> None:
    """Reads and decodes every record; UserError naming the first that cannot be."""
    info = load_info(directory)
    decode = feature_codec.decode_features if info.modality == FEATURES else codec.decode
    for split, counts in info.splits.items():
        records = 0
        for path in shard_paths(directory, info, split) if counts["clips"] else ():
            position = 0
            try:
                for serialized in tf.data.TFRecordDataset(path).as_numpy_iterator():
                    decode(serialized)
                    position += 1
            except (tf.errors.OpError, UserError) as error:
                reason = str(error) if isinstance(error, UserError) else "the file is damaged"
                raise UserError(f"Record {position} of {path} is corrupt: {reason}.") from error
            records += position
        if records != counts["clips"]:
            raise UserError(
                f"Expected {counts['clips']} records in split {split!r} as {INFO_FILE} in "
                f"{directory} says, received {records}; build the data set again."
            )
