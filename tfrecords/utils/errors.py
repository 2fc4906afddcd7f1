"""Errors that are the user's to mend: one clear sentence, never a stack trace."""

from __future__ import annotations

import errno
import mmap
import os

# What the system answers if it, not the file, is in trouble. EIO and ENOMEM need a second look.
_MACHINE = {
    *(errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.ESTALE),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT),
    *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED),
}
LONGEST = 2000  # characters of a sentence
_ROOM = 256 << 20  # bytes; a decoder that lacks memory beside so much asks for a damaged file's


class UserError(Exception):
    """An error the user can fix.

    The message is one sentence that names the file, row or flag, what was expected and what came.
    Commands print it to standard error and end with `exit_code`. What it cites from a file may be
    of any length, so it is cut after `LONGEST` characters.
    """

    exit_code = 1

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


class UsageError(UserError):
    """Wrong use of a command or function: a flag, a column, a label or a path."""

    exit_code = 2


class MachineError(UserError):
    """Trouble of the machine or of a remote store: it says nothing about the file at hand."""


def raise_if_machine(error: BaseException, path: str) -> None:
    """Raises a MachineError if an error in reading a file is not the file's own fault.

    Too many open files, no memory, a failing disk, a library that cannot be loaded: whoever takes
    these for a broken file would leave it out for good.
    """
    if isinstance(error, MachineError):
        raise error
    number = getattr(error, "errno", None)
    memory = isinstance(error, MemoryError) or number == errno.ENOMEM
    memory = memory or "insufficient memory" in str(error).lower()  # of OpenCV
    threads = isinstance(error, RuntimeError) and "start new thread" in str(error)
    if (
        number in _MACHINE
        or isinstance(error, ImportError)
        or threads
        or (memory and not _has_room())
        or (number == errno.EIO and not _can_be_read(path))
    ):
        reason = " ".join(str(getattr(error, "strerror", None) or error or "no memory").split())
        raise MachineError(
            f"{path}: {reason}: this is the machine's trouble, not the file's; the same command "
            "continues where this one stopped."
        ) from error


def _has_room() -> bool:
    try:
        mmap.mmap(-1, _ROOM).close()
    except (OSError, MemoryError, ValueError):
        return False
    return True


def _can_be_read(path: str) -> bool:
    """Returns whether a local file can be read to its end; decoders give EIO for cut files too."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            while file.read(1 << 20):
                pass
    except OSError:
        return False
    return True
