"""Files beyond this machine: the one place that imports tensorflow-io.

TensorFlow itself reads local paths; tensorflow-io registers s3://, gs://, az://, hdfs:// and
http(s):// with it. That import takes seconds, so it waits for the first path of that kind.
"""

from __future__ import annotations

import re
from typing import BinaryIO

_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_remote(path: str) -> bool:
    """Whether the path names a scheme, such as s3://bucket/file."""
    return bool(_SCHEME.match(str(path)))


def prepare(path: str) -> str:
    """Makes TensorFlow able to open the path, and returns it unchanged."""
    if is_remote(path):
        import tensorflow_io  # noqa: F401  (registers the schemes)
    return path


def open_file(path: str, mode: str = "r") -> BinaryIO:
    """Opens a local or remote file."""
    if not is_remote(path):
        return open(path, mode)
    import tensorflow as tf

    return tf.io.gfile.GFile(prepare(path), mode)
