"""Atomic writes: files appear under their names whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from os import PathLike
from pathlib import Path
from typing import Any, Iterator, Union

from tfrecords.utils import filesystem
from tfrecords.utils.filesystem import RemotePath

StrPath = Union[str, "PathLike[str]", RemotePath]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def replacing(path: StrPath) -> Iterator[Path]:
    """Yields a temporary name beside `path`; renames it when the block ends without an error.

    After an error the temporary file is removed and `path` is what it was. The temporary name is
    fixed, `path` and `.tmp`: what a killed process left is overwritten by the next one. The folder
    is created if needed. A remote file is written on this machine and then uploaded.
    """
    path = filesystem.to_path(path)
    if isinstance(path, RemotePath):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / path.name
            yield temporary
            path.upload(temporary)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in _NO_ROOM and error.filename is None:
            error.filename = str(path)  # a write that fails does not name its file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: StrPath, text: str) -> None:
    """Writes a text file atomically: UTF-8, the same bytes on every system."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: StrPath, content: Any) -> None:
    """Writes JSON atomically, for people to read; keys keep their order.

    Raises:
        ValueError: If a number is NaN or infinite, which JSON cannot express.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def sha256(path: StrPath) -> str:
    """Hashes a file's content, in hexadecimal; a remote one is fetched for it."""
    total = hashlib.sha256()
    with filesystem.open_file(str(path)) as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()
