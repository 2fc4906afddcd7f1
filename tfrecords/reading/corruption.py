"""Names the record that TensorFlow could not read."""

from __future__ import annotations

import contextlib
from typing import Iterator

import tensorflow as tf

from tfrecords.records.checking import check_records
from tfrecords.utils.atomic import StrPath


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
        check_records(directory)
        raise error
