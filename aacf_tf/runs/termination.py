"""Handles SIGTERM: a run is saved before it ends."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import Any, Iterator

from tfrecords.utils.errors import UserError


class Stopped(UserError):
    """Raised after SIGTERM, when the run is saved."""

    # The exit code of a process ended by SIGTERM: the caller sees that the run is neither done nor
    # broken.
    exit_code = 128 + signal.SIGTERM


class Termination:
    """Notes SIGTERM instead of ending the process, within `active`.

    Attributes:
        received: Whether SIGTERM came.
    """

    received = False
    _at_once = False

    @contextlib.contextmanager
    def active(self) -> Iterator[Termination]:
        """Handles SIGTERM within a block; has no effect outside the main thread."""
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
        """Lets SIGTERM end a block within `active` at once, for work that loses nothing."""
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
