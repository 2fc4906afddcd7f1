"""Who reads which scheme of remote files, and the one place that imports tensorflow-io.

TensorFlow itself reads local paths and gs://; tensorflow-io registers further schemes with it. That
import takes seconds, so it waits for the first path of that kind. From Python 3.12 on there is no
tensorflow-io: `Gfile`, by fsspec, stands in for it, and TensorFlow's readers get local copies (see
`shards`).
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import tempfile
from types import SimpleNamespace
from typing import Any, Iterator

from tfrecords.utils.errors import UserError


def gfile_of(url: str) -> Any:
    """Returns `tf.io.gfile`, or what stands in for it, for the scheme of an address."""
    import tensorflow as tf

    return tf.io.gfile if is_registered(url) else Gfile(url)


def is_registered(url: str) -> bool:
    """Returns whether TensorFlow reads such a remote path itself, by tensorflow-io if need be."""
    import tensorflow as tf

    scheme = url.partition("://")[0]
    if scheme in tf.io.gfile.get_registered_schemes():
        return True
    with contextlib.suppress(ImportError):
        import tensorflow_io  # noqa: F401  (registers the schemes)
    return scheme in tf.io.gfile.get_registered_schemes()


class Gfile:
    """As much of `tf.io.gfile` as `RemotePath` uses, for the scheme of one address.

    Args:
        url: Address such as s3://bucket/file.

    Raises:
        UserError: fsspec, or what it needs for the scheme, is not installed.
    """

    def __init__(self, url: str):
        scheme = url.partition("://")[0]
        self._has_folders, self._is_web = scheme == "hdfs", scheme.startswith("http")
        try:
            import fsspec

            self._files = fsspec.filesystem(scheme, **_options(scheme))
        except ImportError as error:
            raise UserError(
                f"{url}: expected the packages that read {scheme}:// (for s3 and http: pip install "
                f"'fsspec[http,s3]'), received: {error}."
            ) from error

    def exists(self, url: str) -> bool:
        """Returns whether there is such a file or folder."""
        return self._files.exists(url)

    def isdir(self, url: str) -> bool:
        """Returns whether there is such a folder; the web has none."""
        return not self._is_web and self._files.isdir(url)

    def stat(self, url: str) -> SimpleNamespace:
        """Returns `length`, the size in bytes, and `version`, which changes with the content."""
        return SimpleNamespace(length=self._files.size(url), version=self._files.ukey(url))

    def listdir(self, url: str) -> list[str]:
        """Returns the names in a folder."""
        paths = [path.rstrip("/") for path in self._files.ls(url, detail=False)]
        # Some stores hold an empty object in the place of the folder itself.
        return [posixpath.basename(path) for path in paths if not url.endswith(f"//{path}")]

    @contextlib.contextmanager
    def GFile(self, url: str, mode: str) -> Iterator[Any]:
        """Opens a file for reading, `mode` "rb"; it is fetched whole before."""
        with tempfile.NamedTemporaryFile(mode) as local:
            self._files.get_file(url, local.name)
            yield local

    def makedirs(self, url: str) -> None:
        """Makes a folder where the store has any."""
        if self._has_folders:
            self._files.makedirs(url, exist_ok=True)

    def copy(self, source: str, target: str, overwrite: bool) -> None:
        """Copies a file from or to this machine, over what is there."""
        copy = self._files.get_file if "://" in source else self._files.put_file
        copy(source, target)

    def rename(self, source: str, target: str, overwrite: bool) -> None:
        """Gives a file another name, over what is there."""
        self._files.mv(source, target)

    def remove(self, url: str) -> None:
        """Removes a file."""
        if not self._files.exists(url):  # a store may not say so
            raise FileNotFoundError(url)
        self._files.rm_file(url)

    def rmtree(self, url: str) -> None:
        """Removes a folder and all below it."""
        self._files.rm(url, recursive=True)


def _options(scheme: str) -> dict[str, Any]:
    """Returns what fsspec is told; S3 by the environment variables that tensorflow-io reads."""
    if scheme != "s3":
        return {"use_listings_cache": False}
    client: dict[str, Any] = {"region_name": os.environ.get("AWS_REGION")}
    if os.environ.get("S3_VERIFY_SSL") == "0":
        client["verify"] = False
    options = {"client_kwargs": client, "use_listings_cache": False}
    endpoint = os.environ.get("S3_ENDPOINT")
    if endpoint:
        if "://" not in endpoint:
            secure = os.environ.get("S3_USE_HTTPS") != "0"
            endpoint = f"{'https' if secure else 'http'}://{endpoint}"
        options["endpoint_url"] = endpoint
        options["config_kwargs"] = {"s3": {"addressing_style": "path"}}
    return options
