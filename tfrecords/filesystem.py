"""Files beyond this machine: the one place that imports tensorflow-io.

TensorFlow itself reads local paths; tensorflow-io registers the schemes with it. That import takes
seconds, so it waits for the first path of that kind.
"""

from __future__ import annotations

import shutil
import tempfile
from typing import BinaryIO

SCHEMES = ("s3://", "gs://", "az://", "hdfs://", "http://", "https://")


def is_remote(path: str) -> bool:
    """Whether the path begins with one of `SCHEMES`, such as s3://bucket/file."""
    return path.startswith(SCHEMES)


def open_file(path: str) -> BinaryIO:
    """Opens a local or remote file for reading.

    A remote file is fetched whole into a temporary one first: decoders jump to and fro, and a
    connection that breaks off must not pass for a short video.

    Raises:
        OSError: there is no such file, or it cannot be fetched.
    """
    return _fetch(path) if is_remote(path) else open(path, "rb")


def _fetch(path: str) -> BinaryIO:
    import tensorflow as tf
    import tensorflow_io  # noqa: F401  (registers the schemes)

    local = tempfile.TemporaryFile()  # noqa: SIM115  (for the caller to close)
    try:
        with tf.io.gfile.GFile(path, "rb") as remote:
            shutil.copyfileobj(remote, local, 1 << 20)
    except Exception as error:  # whatever the scheme's own library raises: az:// a RuntimeError
        local.close()
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise OSError(f"cannot be fetched: {reason}") from error
    local.seek(0)
    return local
