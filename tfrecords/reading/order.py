"""The order of the records in every epoch, as a function of (seed, epoch).

A run that resumes in the middle of an epoch, or one of several workers, skips other records while
they are still encoded, and reads what the undisturbed run on one machine would have read.
"""

from __future__ import annotations

from typing import Callable, List, Optional, Union

import tensorflow as tf

from tfrecords.reading.options import Schedule
from tfrecords.utils.remote.shards import read_records, record_reader

assert_cardinality = tf.data.experimental.assert_cardinality


def list_records(paths: List[str], key: Optional[tf.Tensor] = None) -> tf.data.Dataset:
    """Lists serialised records, in order or in the order given by the epoch's key.

    In training several shards are read in turn, which spreads neighbours in a file over the epoch.
    """
    if key is None:
        return read_records(paths)
    shards = _shuffle(tf.data.Dataset.from_tensor_slices(paths), len(paths), key)
    return shards.interleave(record_reader(paths), cycle_length=min(8, len(paths)))


def shuffle_epochs(
    records: Callable[[tf.Tensor], tf.data.Dataset],
    schedule: Schedule,
    batch_size: int,
    steps: int,
    again: bool = False,
) -> tf.data.Dataset:
    """Returns the records of all epochs, each with its epoch's key, int64 [2], the seed of chance.

    Args:
        records: Function from an epoch's key to the records to shuffle.
        schedule: Part of the training to read.
        batch_size: Records a step, over all workers.
        steps: Batches in one epoch; what is left over of the records is dropped.
        again: Whether to begin anew if there are fewer records than an epoch has.

    Raises:
        tf.errors.FailedPreconditionError: While iterating, there are fewer records than an epoch
            has.
    """
    rows = steps * batch_size
    number, workers = schedule.worker
    share = schedule.share(batch_size)

    def list_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        key = epoch_key(schedule.seed, epoch)
        epoch_records = _shuffle(records(key), schedule.shuffle_buffer, key)
        if again:
            epoch_records = epoch_records.repeat()
        epoch_records = epoch_records.take(rows).apply(assert_cardinality(rows))
        if schedule.first_step:
            skipped = tf.constant(schedule.first_step * batch_size, tf.int64)
            epoch_records = epoch_records.skip(tf.where(epoch == schedule.first_epoch, skipped, 0))
        if workers > 1:
            epoch_records = epoch_records.enumerate().filter(
                lambda row, _: row % batch_size // share == number
            )
            epoch_records = epoch_records.map(lambda _, record: record)
        return epoch_records.map(lambda record: (record, key))

    return _epoch_numbers(schedule).flat_map(list_epoch)


def finish(dataset: tf.data.Dataset, batches: int) -> tf.data.Dataset:
    """Returns a data set of that many batches, read ahead."""
    dataset = dataset.apply(assert_cardinality(batches))  # what a progress bar counts to
    options = tf.data.Options()
    # Sharded by file, several workers would not read what one worker reads.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


def epoch_key(seed: int, epoch: Union[int, tf.Tensor]) -> tf.Tensor:
    """Returns the seed of all chance in an epoch, int64 [2]."""
    return tf.random.stateless_uniform([2], [seed, epoch], None, None, tf.int64)


def record_key(key: tf.Tensor, identity: tf.Tensor) -> tf.Tensor:
    """Returns the seed of a record's chance, int64 [2], from the epoch's key and the record's id.

    It depends on the id, not on the position in a file: a skipped or additional row must not change
    what is drawn for the others.
    """
    return key + tf.strings.to_hash_bucket_fast(identity, 2**63 - 1)  # the same on every machine


def _epoch_numbers(schedule: Schedule) -> tf.data.Dataset:
    if schedule.epochs is not None:
        return tf.data.Dataset.range(schedule.first_epoch, schedule.first_epoch + schedule.epochs)
    # A different number at each iteration of the data set.
    return tf.data.Dataset.random(schedule.seed, rerandomize_each_iteration=True).take(1)


def _shuffle(dataset: tf.data.Dataset, buffer: int, key: tf.Tensor) -> tf.data.Dataset:
    # The shuffle mixes its seed with the graph's. Called while an epoch's function is traced, this
    # sets the seed of that function's graph only, so that the order depends on the key alone.
    tf.random.set_seed(1)
    return dataset.shuffle(buffer, seed=key[0], reshuffle_each_iteration=False)
