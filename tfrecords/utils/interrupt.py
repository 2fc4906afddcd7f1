"""One sentence for Ctrl-C at any time of a command, also while its modules are being imported."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Any, Iterator, Tuple

SENTENCE = "Interrupted; the same command continues where this one stopped."
EXIT_CODE = 130
_seen = False
_stderr = 2  # the descriptor of standard error


def guard_command() -> None:
    """Ends the process with one sentence on Ctrl-C if it is one of the project's commands.

    For the time before and after `commandline.run`, which nothing else can catch. A process that
    ignores Ctrl-C goes on doing so.
    """
    argv = getattr(sys, "argv", None) or [""]
    # Before Python 3.10 there is only -m itself, while the module is being located.
    given = getattr(sys, "orig_argv", [argv[0], "tfrecords"])
    module = given[given.index("-m") + 1] if "-m" in given[:-1] else ""
    script = os.path.basename(argv[0])
    ours = module.split(".")[0] in ("aacf_tf", "tfrecords") or script == "train_main.py"
    if ours or script.startswith("aacf-"):
        _replace((signal.default_int_handler, _raise), _end)


def release() -> None:
    """Gives Ctrl-C back its KeyboardInterrupt, which a command catches itself."""
    _replace((_end,), _raise)


def seen() -> bool:
    """Returns whether Ctrl-C came; an import that it stops may raise an error of another kind."""
    return _seen


@contextlib.contextmanager
def without_stderr() -> Iterator[None]:
    """Drops what the process writes to standard error, but for the sentence of Ctrl-C."""
    global _stderr
    try:
        sys.stderr.flush()
        _stderr = os.dup(2)
    except (AttributeError, OSError):  # the process has none
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(_stderr, 2)
        os.close(_stderr)
        _stderr = 2


def _replace(old: Tuple[Any, ...], new: Any) -> None:
    if signal.getsignal(signal.SIGINT) in old:
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, new)


def _raise(*arguments: Any) -> None:
    global _seen
    _seen = True
    signal.default_int_handler(*arguments)


def _end(*_: object) -> None:
    os.write(_stderr, f"error: {SENTENCE}\n".encode())
    os._exit(EXIT_CODE)


guard_command()  # from the import of this module on
