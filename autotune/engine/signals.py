"""Ctrl-C and SIGTERM: the first asks to stop after the batch, the second stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_WATCHED = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Listens while its block runs, in the main thread only; the handlers that were there come back after it.

    Attributes:
        asked: The name of the signal that asked to stop, or None.
        forced: Whether a second one came.
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        self.forced = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in _WATCHED:
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            self.forced = True
            raise KeyboardInterrupt
        self.asked = signal.Signals(number).name
