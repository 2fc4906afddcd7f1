"""Shared entry point of all commands: flag parsing, help text and one-line errors.

absl alone exits with 1 on `--help` and on wrong flags, prints its own flags beside the project's,
and shows a stack trace for any exception; `run` does what a user expects instead.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib.util
import io
import logging
import os
import re
import signal
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable, NoReturn, Optional, Sequence

from absl import app, flags
from absl import logging as absl_logging

from tfrecords.utils import interrupt
from tfrecords.utils.errors import UserError

_NODE = r"\{\{.*?\}\} ?| \[Op:\w+\]"  # how TensorFlow names an operation
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS")  # how TensorFlow ends where memory runs out


def quiet_tensorflow() -> None:
    """Keeps TensorFlow's start-up messages out of the terminal; call before importing it.

    A user who sets TF_CPP_MIN_LOG_LEVEL keeps their own choice.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    wanted = sys.version_info >= (3, 12) and os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
    there = any(isinstance(finder, _QuietImport) for finder in sys.meta_path)
    if wanted and not there and "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _QuietImport())


class _QuietImport:
    """Finds TensorFlow and imports it without standard error.

    TensorFlow 2.21 writes of its kernels there while it is being loaded, at every level of logging.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        """Finds a module as Python would, see `importlib.abc.MetaPathFinder`."""
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            load = loader.exec_module

            def load_quietly(module: ModuleType) -> None:
                with interrupt.without_stderr():
                    load(module)

            loader.exec_module = load_quietly
        return spec


def run(main: Callable[[Sequence[str]], None], usage: str | None) -> NoReturn:
    """Runs a command and ends the process.

    Args:
        main: Function of the positional arguments (without the program's name); `--help` lists
            the flags that its module defines.
        usage: Text above the flags in `--help`.

    Errors the user can mend, of the system and of TensorFlow's runtime end it with one sentence;
    any other is a fault of the program and shows its stack trace.

    Exit codes: 0 success and `--help`; 2 wrong use; 1 failure; 130 interrupted.
    """
    quiet_tensorflow()
    watched = _watch_crashes()
    absl_logging.use_absl_handler()
    absl_logging.set_verbosity(absl_logging.ERROR)
    _show_messages()

    def start(argv: Sequence[str]) -> None:
        if watched:
            faulthandler.disable()  # absl's: a stack trace where a sentence is to stand
        _guarded(main, argv[1:])

    try:
        app.run(
            start,
            flags_parser=lambda argv: _parse_flags(argv, main.__module__, usage),
        )
    except SystemExit as end:  # how app.run ends
        if "tensorflow_io" in sys.modules:
            # The S3 client of tensorflow-io 0.36 aborts in its destructor: exit code 134 for a
            # command that went well. So the process ends before it.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(end.code or 0))
        raise


def _watch_crashes() -> bool:
    """Continues in a child process, whose crash this process reports, if memory is limited.

    Where an allocation fails TensorFlow may end its process by a signal, and no Python code can
    catch that. Without a limit (as is usual), and where TensorFlow runs already (its threads do
    not survive a fork), all stays in one process.

    Returns:
        Whether this is the child; the parent does not return but ends as its child does, with
        exit code 1 after a crash.
    """
    if sys.platform != "linux" or "tensorflow" in sys.modules:
        return False
    import resource  # not on every platform

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return False
    sys.stdout.flush()
    waited = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)  # before the fork, so that none is lost
    child = os.fork()
    if child:
        _end_like(child, waited, limit)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, waited)
    return True


def _end_like(child: int, waited: tuple[signal.Signals, ...], limit: int) -> NoReturn:
    ended, status = 0, 0
    while not ended:
        received = signal.sigwaitinfo(waited)
        # What the terminal sends reaches the child too, and so does what is sent to the group: it
        # is given a second to end by itself.
        sent = received.si_code <= 0 and received.si_signo != signal.SIGCHLD
        if sent and not signal.sigtimedwait([signal.SIGCHLD], 1):
            os.kill(child, received.si_signo)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not os.WIFSIGNALED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    name = signal.Signals(number).name
    if name in _CRASHES:
        sentence = (
            f"\nerror: TensorFlow crashed ({name}), as it does where memory "
            f"runs out: `ulimit -v` allows this command {limit / 1e9:.1f} GB; expected more, or "
            "unlimited. The same command continues where this one stopped.\n"
        )
        os.write(2, sentence.encode())
        os._exit(1)
    if number == signal.SIGINT:  # received twice, the second time as Python ended after the first
        os._exit(interrupt.EXIT_CODE)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    os._exit(128 + number)


class _Messages(logging.StreamHandler):
    """Writes messages on lines of their own, also beside a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a message; bars on the same terminal are drawn anew below it."""
        bars = getattr(sys.modules.get("tqdm"), "tqdm", None) if sys.stderr.isatty() else None
        with bars.external_write_mode(sys.stdout) if bars else contextlib.nullcontext():
            super().emit(record)


def _show_messages() -> None:
    """Shows progress and warnings of the project's packages on stdout, as plain lines."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # labels that the terminal cannot show
    handler = _Messages(sys.stdout)
    for package in ("aacf_tf", "keras_layers", "tfrecords"):
        logger = logging.getLogger(package)
        logger.setLevel(logging.INFO)
        logger.handlers, logger.propagate = [handler], False


def _parse_flags(argv: Sequence[str], module: str, usage: str | None) -> Sequence[str]:
    if any(argument in ("--help", "-help", "-h", "--h") for argument in argv[1:]):
        print((usage or "").strip(), "\n\nFlags:")
        print(_project_flags(_definer(argv, module)))
        print("\n--helpfull lists the flags of the libraries as well.")
        sys.exit(0)
    try:
        arguments = flags.FLAGS(argv)
        for flag in flags.FLAGS.get_key_flags_for_module(_definer(argv, module)):
            if isinstance(flag.value, str) and "~" in flag.value:
                # A shell leaves --output=~/x alone; --weights of two streams are RGB,FLOW.
                flag.value = ",".join(map(os.path.expanduser, flag.value.split(",")))
        return arguments
    except SystemExit:  # absl's own --helpfull and its kind, which end with 1
        sys.exit(0)
    except flags.Error as error:
        _fail(str(error).replace("FATAL Flags parsing error:", "").strip(), code=2)


def _definer(argv: Sequence[str], module: str) -> str:
    """Returns the name by which absl keys a module's flags; __main__ goes by the program."""
    return argv[0] if module == "__main__" else module


def _project_flags(module: str) -> str:
    """Formats one block per flag: its name and default, then its text."""
    lines = []
    for flag in flags.FLAGS.get_key_flags_for_module(module):
        default = "" if flag.default in (None, "", []) else f"  (default: {flag.default_as_str})"
        lines.append(f"  --{flag.name}{default}\n      {flag.help}")
    return "\n".join(lines)


def _guarded(main: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> None:
    interrupt.release()
    try:
        main(arguments)
        interrupt.guard_command()
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) or interrupt.seen():
            _fail(interrupt.SENTENCE, code=interrupt.EXIT_CODE)
        sentence = _describe(error)
        if sentence is None:
            raise
        _fail(sentence, code=error.exit_code if isinstance(error, UserError) else 1)


def _describe(error: Exception) -> Optional[str]:
    """Returns an error as a sentence; None: it is a fault of the program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory; the same command continues where it stopped."
    if isinstance(error, ImportError) and "failed to map segment" in str(error):
        return f"There is not enough memory to load a library: {error}."
    if isinstance(error, OSError):
        named = error.strerror and error.filename is not None
        return f"{error.strerror}: {error.filename}" if named else str(error)
    # An error of TensorFlow's runtime, such as a full disk; not imported to find that out.
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    if errors is None or not isinstance(error, errors.OpError):
        return None
    lines = str(getattr(error, "message", None) or "").splitlines()
    # Where in the graph it happened is written above the cause, and indented below it.
    where = ("Graph execution error:", "Detected at node", "<stack traces", " ", "\t")
    causes = [line for line in lines if line and not line.startswith(where)]
    return re.sub(_NODE, "", causes[0]) if causes else type(error).__name__


def _fail(message: str, code: int) -> NoReturn:
    interrupt.guard_command()
    bars = getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ())
    bars = list(bars)
    for bar in bars:  # an error on a line of its own
        bar.close()
    if bars and not sys.stderr.isatty():  # where closing clears nothing
        print(file=sys.stderr)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
