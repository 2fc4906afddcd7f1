"""SIGTERM: a run is saved before it ends."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import Any, Iterator

from tfrecords.utils.errors import UserError


class Stopped(UserError):
    """SIGTERM came, and what was trained is saved."""

    # What a shell reports of a process that SIGTERM ended: whoever started the run sees that it is
    # neither done nor broken.
    exit_code = 128 + signal.SIGTERM


class Termination:
    """Whether SIGTERM came; `active` where it must not end the process at once."""

    received = False
    _at_once = False

    @contextlib.contextmanager
    def active(self) -> Iterator[Termination]:
        """Takes SIGTERM over; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within `active`, for long work that loses nothing: SIGTERM ends it where it is."""
        self._at_once = True
        try:
            if self.received:
                self._note()
            yield
        finally:
            self._at_once = False

    def _note(self, *_: Any) -> None:
        self.received = True
        if self._at_once:
            raise Stopped("SIGTERM: what is there is kept; the same command goes on from there.")
