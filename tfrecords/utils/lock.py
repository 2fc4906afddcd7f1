"""One process at a time in a directory."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from pathlib import Path
from typing import Iterator, Type

from tfrecords.utils.errors import UserError

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def alone(path: Path, message: str, kind: Type[UserError] = UserError) -> Iterator[None]:
    """Holds a lock on a file within a block; the system releases it however the process ends.

    The file is made with its folder if needed, says who holds it, and is removed at the end.

    Args:
        path: The file.
        message: What is said if another process holds it; without a full stop.
        kind: Type of that error.
    """
    import fcntl  # not on Windows

    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise kind(f"{message} ({file.read(200) or 'it has just begun'}).") from error
            except OSError as error:  # a network folder may have no locks
                logger.warning(f"Warning: {path.parent} cannot be locked: {error.strerror}.")
            if not (path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))):
                continue  # the one before has just removed it
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
