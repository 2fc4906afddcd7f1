"""Which record comes when: the order of every epoch, as a function of (seed, epoch).

A run that resumes in the middle of an epoch, or one of several workers, skips what is not its own
while it is still encoded, and reads what the undisturbed run on one machine would have read.
"""

from __future__ import annotations

from typing import Callable, List, NamedTuple, Optional, Tuple, Union

import tensorflow as tf

assert_cardinality = tf.data.experimental.assert_cardinality


class Epochs(NamedTuple):
    """Which part of the training a data set is.

    Attributes:
        seed: of the order.
        batch_size: records a step, over all workers.
        steps: batches in one epoch; what is left over of the records is dropped.
        first: number of the first epoch.
        first_step: batches of that epoch which are skipped.
        count: epochs in a row; None: one, and a new one at each iteration.
        worker: (number, count): of every batch the rows of this worker, batch_size / count.
    """

    seed: int
    batch_size: int
    steps: int
    first: int = 0
    first_step: int = 0
    count: Optional[int] = None
    worker: Tuple[int, int] = (0, 1)

    @property
    def total(self) -> int:
        """Batches in all."""
        return self.steps * (self.count or 1) - self.first_step


def list_records(paths: List[str], key: Optional[tf.Tensor] = None) -> tf.data.Dataset:
    """Serialised records, in order or in that of the epoch's key.

    In training several shards are read in turn: neighbours in a file are spread over the epoch.
    """
    if key is None:
        return tf.data.TFRecordDataset(paths)
    shards = _shuffle(tf.data.Dataset.from_tensor_slices(paths), len(paths), key)
    return shards.interleave(tf.data.TFRecordDataset, cycle_length=min(8, len(paths)))


def shuffle_epochs(
    records: Callable[[tf.Tensor], tf.data.Dataset],
    buffer: int,
    epochs: Epochs,
    again: bool = False,
) -> tf.data.Dataset:
    """The records of all epochs, each with its epoch's key, an int64 [2] to draw chance from.

    Args:
        records: from an epoch's key to the records to shuffle.
        buffer: records among which the next one is drawn.
        epochs: which part of the training to read.
        again: begin anew where there are fewer records than an epoch has.

    Raises:
        tf.errors.FailedPreconditionError: while iterating, there are fewer records than an epoch
            has.
    """
    rows = epochs.steps * epochs.batch_size
    number, workers = epochs.worker
    share = epochs.batch_size // workers

    def list_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        key = epoch_key(epochs.seed, epoch)
        epoch_records = _shuffle(records(key), buffer, key)
        if again:
            epoch_records = epoch_records.repeat()
        epoch_records = epoch_records.take(rows).apply(assert_cardinality(rows))
        if epochs.first_step:
            skipped = tf.constant(epochs.first_step * epochs.batch_size, tf.int64)
            epoch_records = epoch_records.skip(tf.where(epoch == epochs.first, skipped, 0))
        if workers > 1:
            epoch_records = epoch_records.enumerate().filter(
                lambda row, _: row % epochs.batch_size // share == number
            )
            epoch_records = epoch_records.map(lambda _, record: record)
        return epoch_records.map(lambda record: (record, key))

    return _epoch_numbers(epochs).flat_map(list_epoch)


def epoch_key(seed: int, epoch: Union[int, tf.Tensor]) -> tf.Tensor:
    """int64 [2], of which chance in that epoch is a function."""
    return tf.random.stateless_uniform([2], [seed, epoch], None, None, tf.int64)


def record_key(key: tf.Tensor, identity: tf.Tensor) -> tf.Tensor:
    """int64 [2], of which a record's chance is a function: of the epoch's key and its id.

    By the id, not the place in a file: a row that is skipped, or one more, must not change what is
    drawn for the others.
    """
    return key + tf.strings.to_hash_bucket_fast(identity, 2**63 - 1)  # the same on every machine


def _epoch_numbers(epochs: Epochs) -> tf.data.Dataset:
    if epochs.count is not None:
        return tf.data.Dataset.range(epochs.first, epochs.first + epochs.count)
    # A number that is another one at each iteration of the data set.
    return tf.data.Dataset.random(epochs.seed, rerandomize_each_iteration=True).take(1)


def _shuffle(dataset: tf.data.Dataset, buffer: int, key: tf.Tensor) -> tf.data.Dataset:
    # The shuffle mixes its seed with the graph's. Called while an epoch's function is traced, this
    # sets the seed of that function's graph only: the order hangs on the key and on nothing else.
    tf.random.set_seed(1)
    return dataset.shuffle(buffer, seed=key[0], reshuffle_each_iteration=False)
