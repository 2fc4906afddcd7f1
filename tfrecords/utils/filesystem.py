"""Local and remote files by one interface; who reads which scheme stands in `remote.stores`."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import io
import os
import posixpath
import re
import shutil
import tempfile
import threading
import time
from concurrent.futures import Future
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, TypeVar, Union

from tfrecords.utils.errors import MachineError, UserError
from tfrecords.utils.remote import stores

T = TypeVar("T")

SCHEMES = ("s3://", "gs://", "az://", "hdfs://", "http://", "https://")
READ_ONLY = ("http://", "https://")
# Where a file that is being written can be seen half; elsewhere it appears when it is whole.
VISIBLE_EARLY = ("hdfs://",)
WAITS = (1.0, 4.0)  # seconds before another try of what a store refused
# Remote videos that are kept on this machine: one for each row that may be in work.
KEPT = max(4, os.cpu_count() or 1)


def is_remote(path: str) -> bool:
    """Returns whether the path begins with one of `SCHEMES`, such as s3://bucket/file."""
    return path.startswith(SCHEMES)


def to_path(path: Union[str, PathLike[str], RemotePath]) -> AnyPath:
    """Returns a local or remote path, both with one interface."""
    if isinstance(path, RemotePath):
        return path
    text = os.fspath(path)
    return RemotePath(text) if is_remote(text) else Path(text).expanduser()


def absolute(path: Union[str, PathLike[str]]) -> str:
    """Makes a path independent of the working directory; a remote one only loses a final slash."""
    path = os.fspath(path)
    return path.rstrip("/") if is_remote(path) else os.path.abspath(os.path.expanduser(path))


def join(folder: str, path: str) -> str:
    """Joins a path to an absolute folder and resolves `..`: the result may lie outside."""
    scheme, mark, start = folder.rpartition("://")
    if not mark:
        return os.path.normpath(os.path.join(folder, path))
    return scheme + mark + posixpath.normpath(posixpath.join(f"/{start}", path)).lstrip("/")


def open_file(path: str) -> BinaryIO:
    """Opens a local or remote file for reading.

    A remote file is fetched whole into a temporary one first: decoders jump to and fro, and a
    connection that breaks off must not pass for a short video.

    Raises:
        OSError: If the file does not exist or cannot be fetched.
    """
    return RemotePath(path).fetch() if is_remote(path) else open(os.path.expanduser(path), "rb")


def open_media(path: str) -> BinaryIO:
    """Opens a video, mask or image as `open_file`; the last `KEPT` remote ones are fetched once.

    A row opens its video up to four times, and the next row is often of the same one.

    Raises:
        FileNotFoundError: If the file does not exist.
        OSError: If a local file cannot be opened.
        MachineError: If the store does not give a file that may be there.
    """
    if not is_remote(path):
        return open(path, "rb")
    try:
        return _fetched.open(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise MachineError(f"{path} {error} (the same command tries again).") from error


class _Fetched:
    """Copies of remote files in the order of their use; thread-safe.

    They have no names, so they vanish with the process, however that ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: dict[str, Future] = {}

    def open(self, url: str) -> BinaryIO:
        """Opens a view of the copy; the first caller fetches it, the others wait."""
        with self._lock:
            copy = self._copies.pop(url, None)
            first = copy is None
            copy = self._copies[url] = copy or Future()
            while len(self._copies) > KEPT:
                del self._copies[next(iter(self._copies))]
        if first:
            try:
                copy.set_result(RemotePath(url).fetch())
            except BaseException as error:
                copy.set_exception(error)
                with self._lock:  # the next row tries again
                    if self._copies.get(url) is copy:
                        del self._copies[url]
        return io.BufferedReader(_View(copy.result()))


class _View(io.RawIOBase):
    """A view with its own offset of a shared file, which the last view closes."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._file.fileno(), [buffer], self._place)
        self._place += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place}.get(whence)
        if start is None:
            start = os.fstat(self._file.fileno()).st_size
        self._place = start + offset
        return self._place


_fetched = _Fetched()


class RemotePath:
    """A remote path with as much of `pathlib.Path` as data sets need.

    Object stores know no folders: one exists as long as a file is in it. Every method raises
    OSError if the store refuses, FileNotFoundError if there is nothing to read.
    """

    def __init__(self, url: str):
        self._url = url.rstrip("/")

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"RemotePath({self._url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __lt__(self, other: RemotePath) -> bool:
        return self._url < other._url

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self._url}/{name}")

    @property
    def name(self) -> str:
        """The part after the last slash."""
        return self._url.rsplit("/", 1)[1]

    @property
    def parent(self) -> RemotePath:
        """The folder of a file."""
        return RemotePath(self._url.rsplit("/", 1)[0])

    @property
    def read_only(self) -> bool:
        """Whether the scheme allows reading only."""
        return self._url.startswith(READ_ONLY)

    def with_name(self, name: str) -> RemotePath:
        """Returns another file in the same folder."""
        return self.parent / name

    def exists(self) -> bool:
        """Returns whether there is such a file or folder."""
        with self._errors() as gfile:
            return gfile.exists(self._url) or gfile.isdir(self._url)

    def is_dir(self) -> bool:
        """Returns whether there is such a folder."""
        with self._errors() as gfile:
            return gfile.isdir(self._url)

    def is_file(self) -> bool:
        """Returns whether there is such a file."""
        with self._errors() as gfile:
            return gfile.exists(self._url) and not gfile.isdir(self._url)

    def size(self) -> int:
        """Returns the size in bytes."""
        with self._errors() as gfile:
            return gfile.stat(self._url).length

    def iterdir(self) -> Iterator[RemotePath]:
        """Lists a folder, sorted; nothing if there is none."""
        with self._errors() as gfile:
            names = gfile.listdir(self._url) if gfile.isdir(self._url) else []
        return (self / name.rstrip("/") for name in sorted(names))

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Lists the files of a folder by a pattern of their names."""
        return (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def read_bytes(self) -> bytes:
        """Reads the whole file."""
        with self._errors() as gfile, gfile.GFile(self._url, "rb") as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        """Reads the whole file as text."""
        return self.read_bytes().decode(encoding)

    def fetch(self) -> BinaryIO:
        """Fetches a temporary copy to this machine; it vanishes when it is closed."""
        return _with_retries(self._fetch_once)

    def _fetch_once(self) -> BinaryIO:
        local = tempfile.TemporaryFile()  # noqa: SIM115  (for the caller to close)
        try:
            with self._errors() as gfile, gfile.GFile(self._url, "rb") as remote:
                shutil.copyfileobj(remote, local, 1 << 20)
        except Exception as error:  # whatever the scheme's own library raises: az:// a RuntimeError
            local.close()
            said = str(error).replace(self._url, "")
            missing = isinstance(error, FileNotFoundError) or re.search(r"\b(404|410)\b", said)
            kind = FileNotFoundError if missing else OSError
            raise kind(f"cannot be fetched: {error}") from error
        local.seek(0)
        return local

    def upload(self, local: Path) -> None:
        """Copies a file of this machine here; it appears whole or not at all."""
        _with_retries(lambda: self._upload_once(local))

    def _upload_once(self, local: Path) -> None:
        half = f"{self._url}.tmp" if self._url.startswith(VISIBLE_EARLY) else self._url
        with self._errors() as gfile:
            gfile.makedirs(str(self.parent))
            gfile.copy(str(local), half, overwrite=True)
            if half != self._url:
                gfile.rename(half, self._url, overwrite=True)

    def download(self, local: Path) -> None:
        """Copies the file to this machine, over what is there."""
        with self._errors() as gfile:
            gfile.copy(self._url, str(local), overwrite=True)

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the file."""
        try:
            with self._errors() as gfile:
                gfile.remove(self._url)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_tree(self) -> None:
        """Removes a folder and all below it, if it is there."""
        with self._errors() as gfile:
            if gfile.isdir(self._url):
                gfile.rmtree(self._url)

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Makes a folder if the store has any."""
        with self._errors() as gfile:
            gfile.makedirs(self._url)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[Any]:
        """Gives `tf.io.gfile` or its stand-in; turns their errors into those of `open`."""
        import tensorflow as tf

        try:
            yield stores.gfile_of(self._url)
        except tf.errors.OpError as error:
            reason = (error.message or type(error).__name__).splitlines()[0]
            kind = FileNotFoundError if isinstance(error, tf.errors.NotFoundError) else OSError
            raise kind(f"{self._url}: {reason}") from error
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self._url}: there is no such file (404)") from error
        except UserError:
            raise
        except Exception as error:  # also of the library that fsspec has for the scheme
            if isinstance(error, OSError) and error.errno is not None and error.filename:
                raise  # of this machine's disk
            raise OSError(f"{self._url}: {error or type(error).__name__}") from error


AnyPath = Union[Path, RemotePath]


def _with_retries(action: Callable[[], T]) -> T:
    """Tries again what a store refused, unless it says that there is no such file."""
    for wait in WAITS:
        try:
            return action()
        except FileNotFoundError:
            raise
        except OSError:
            time.sleep(wait)
    return action()


def file_size(path: AnyPath) -> int:
    """Returns the bytes of a file, local or remote."""
    return path.size() if isinstance(path, RemotePath) else path.stat().st_size


def check_output(path: AnyPath, flag: str, folder: bool = False) -> None:
    """Raises a UserError if a local file or folder cannot be written: before the work, not after.

    Args:
        path: What will be written; a remote one is not tried.
        flag: Name of the flag that names it.
        folder: Whether it is a folder of files, which is created with those above it if needed.
    """
    if isinstance(path, RemotePath):
        return
    try:
        if not folder and path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        place = path if folder else path.parent
        while not place.exists():
            place = place.parent
        with tempfile.NamedTemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"--{flag}: {path} cannot be written: {error.strerror}.") from error


def remove_folder(path: AnyPath) -> None:
    """Removes a folder of files, if it is there."""
    if isinstance(path, RemotePath):
        path.remove_tree()
    else:
        shutil.rmtree(path, ignore_errors=True)
