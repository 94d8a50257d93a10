"""Signals: Ctrl-C once stops after the batch, twice at once; SIGTERM and SIGUSR1 stop within a time of grace."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

from autotune.errors import Interrupted, Requeue

GRACE = 30.0
"""Seconds from SIGTERM or SIGUSR1 until the process is gone."""
_LATEST = 0.7
"""Share of the grace time after which the batch is not waited for any more: what is saved must still be handed over."""
_AGAIN = 1.0
"""Seconds within which a second SIGTERM is the same wish: schedulers, and shells, signal a process and its group."""


class Signals:
    """Listens while its block runs, in the main thread only; the handlers that were there come back after it.

    Args:
        grace: Seconds from SIGTERM or SIGUSR1 until the process is gone.

    Attributes:
        asked: What asked to stop, e.g. the name of a signal, or None.
        forced: Whether to stop at once: a second signal came, or the time of grace is nearly over.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self.grace = grace
        self.asked: str | None = None
        self.forced = False
        self._since = 0.0
        self._timer: threading.Timer | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def ask(self, why: str) -> None:
        """Asks to stop as SIGTERM does; may be called from any thread."""
        if self.asked is None:
            self.asked, self._since = why, time.monotonic()
            main = threading.main_thread().ident
            if self._before and main is not None:
                self._timer = threading.Timer(_LATEST * self.grace, self._hurry, [main])
                self._timer.daemon = True
                self._timer.start()

    def interruption(self, text: str, *, hint: str) -> Interrupted:
        """The error that says that the search was stopped; its exit code asks for a requeue unless a person did it."""
        return (Interrupted if self.asked in (None, "SIGINT") else Requeue)(text, hint=hint)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            if number == signal.SIGINT:
                self.asked = "SIGINT"
            else:
                self.ask(signal.Signals(number).name)
        elif number == signal.SIGINT or time.monotonic() - self._since > _AGAIN:
            self.forced = True
            raise KeyboardInterrupt

    def _hurry(self, main: int) -> None:
        self._since = 0.0
        signal.pthread_kill(main, signal.SIGTERM)
