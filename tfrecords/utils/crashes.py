"""One sentence for a crash that a limit on memory (`ulimit -v`) causes inside TensorFlow."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from tfrecords.utils import interrupt

_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)


def watch() -> bool:
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
    if number in _CRASHES:
        sentence = (
            f"\nerror: TensorFlow crashed ({signal.Signals(number).name}), as it does where memory "
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
