"""Rows to shards: `python -m tfrecords.build`."""
