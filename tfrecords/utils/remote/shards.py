"""Reads the records of shards, wherever they lie."""

from __future__ import annotations

import os
import posixpath
import tempfile
import threading
from typing import TYPE_CHECKING, Callable, Sequence, Union

from tfrecords.utils.filesystem import is_remote
from tfrecords.utils.remote import stores

if TYPE_CHECKING:
    import tensorflow as tf

# Copies of shards that are kept: as many as an epoch reads in turn, and more if they are small.
KEPT_SHARDS = 16
KEPT_BYTES = 8 << 30


def read_records(paths: Union[str, Sequence[str]]) -> tf.data.Dataset:
    """Lists the serialised records of one or several shards, local or remote, in order."""
    import tensorflow as tf

    paths = [paths] if isinstance(paths, str) else list(paths)
    reader = record_reader(paths)
    if reader is tf.data.TFRecordDataset:
        return reader(paths)
    return tf.data.Dataset.from_tensor_slices(paths).flat_map(reader)


def record_reader(paths: Sequence[str]) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """Returns the function from the path of one of these shards to its records, for a graph.

    Shards that TensorFlow cannot read where they are are copied to this machine when their turn
    comes.
    """
    import tensorflow as tf

    if all(not is_remote(path) or stores.is_registered(path) for path in paths):
        return tf.data.TFRecordDataset

    def read(path: tf.Tensor) -> tf.data.Dataset:
        copy = tf.numpy_function(lambda url: _fetch(url.decode()), [path], tf.string)
        return tf.data.TFRecordDataset(copy)

    return read


class _Copies:
    """Local copies of shards, in the order of their use; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._folder: tempfile.TemporaryDirectory | None = None

    def fetch(self, url: str) -> str:
        """Returns the path of a copy of the shard as it now is."""
        files = stores.Gfile(url)
        state = files.stat(url)
        with self._lock:
            self._folder = self._folder or tempfile.TemporaryDirectory(prefix="aacf-shards-")
            path = os.path.join(self._folder.name, f"{state.version}-{posixpath.basename(url)}")
            if self._sizes.pop(path, None) is None:
                files.copy(url, path, overwrite=True)
            self._sizes[path] = state.length
            while sum(self._sizes.values()) > KEPT_BYTES and len(self._sizes) > KEPT_SHARDS:
                oldest = next(iter(self._sizes))
                os.unlink(oldest)  # whoever reads it still can
                del self._sizes[oldest]
        return path


_fetch = _Copies().fetch
