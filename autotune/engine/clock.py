"""The study's clock: active wall time over all calls, and what is left of it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune.engine import outage
from autotune.engine.lines import unwritable
from autotune.errors import StudyError

FILE = "clock.json"


def reserve(total: float) -> float:
    """Seconds kept at the end for finalists and saving: 4 %, from 2 s to 60 s, at most a third of the total."""
    return min(max(2.0, 0.04 * total), 60.0, total / 3)


def read_clock(folder: Path) -> dict[str, Any]:
    """What a study's clock file says: ``spent`` in seconds, and ``ended``, why and at which totals it ended.

    Raises:
        StudyError: The file is damaged.
    """
    try:
        facts = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return {"spent": 0.0, "ended": None}
    except ValueError as error:
        raise StudyError(
            f"{folder / FILE}: is damaged ({error})", hint="remove it; the study's time then counts from 0 again"
        ) from error
    return {"spent": float(facts.get("spent", 0.0)), "ended": facts.get("ended")}


class Clock:
    """Counts a study's active wall time over all calls.

    Time runs from `started`; what earlier calls spent is added once the search has claimed the folder, and
    from then on `save` keeps the sum in ``clock.json``.

    Args:
        folder: The study's folder.
        total: All the time that the study has, in seconds, over all calls; None if it has no end.
        started: When this call began, on ``time.monotonic``; by default now.

    Attributes:
        before: Seconds that earlier calls spent.
        ended: Why the search has ended, and at which totals; None while it has not.
    """

    def __init__(self, folder: Path, total: float | None = None, *, started: float | None = None) -> None:
        self.folder = folder
        self.total = total
        self.started = time.monotonic() if started is None else started
        self.ended: dict[str, Any] | None = None
        self.before = 0.0
        self._opened = False
        self._resting = False
        self._lock = threading.Lock()

    def open(self) -> None:
        """Adds what earlier calls spent; only who has claimed the folder may do so. A second time does nothing."""
        if not self._opened:
            facts = read_clock(self.folder)
            self.before, self.ended = facts["spent"], facts["ended"]
            self._opened = True

    @property
    def spent(self) -> float:
        """Seconds of active wall time over all calls, this one included."""
        return self.before if self._resting else self.before + time.monotonic() - self.started

    @property
    def deadline(self) -> float | None:
        """When everything ends, on ``time.monotonic``."""
        return None if self.total is None else self.started + self.total - self.before

    @property
    def search_deadline(self) -> float | None:
        """When the search ends, so that finalists and saving still fit, on ``time.monotonic``."""
        return None if self.total is None else self.started + self.total - reserve(self.total) - self.before

    @property
    def left(self) -> float:
        """Seconds left for the search; infinite without a total."""
        return float("inf") if self.search_deadline is None else self.search_deadline - time.monotonic()

    def end(self, reason: str, *, trials: int | None) -> None:
        """Records that the search has ended at the present totals, so that the same call again does nothing."""
        self.ended = {"time": self.total, "trials": trials, "reason": reason}
        self.save()

    def reopen(self) -> None:
        """Forgets that the search has ended; a larger total came."""
        self.ended = None

    def rest(self) -> None:
        """Leaves this call out of the count: the study was done before it."""
        self._resting = True

    def save(self) -> None:
        """Writes the time spent, atomically; nothing before `open`.

        While the disk is full, or the folder read-only, the time is written with the next call.

        Raises:
            StudyError: The folder cannot be written.
        """
        if self._opened:
            with self._lock:
                # renamed into place, but not waited for: a power cut may cost some seconds, an epoch must not
                part = self.folder / f".{FILE}.part"
                try:
                    part.write_text(json.dumps({"spent": round(self.spent, 3), "ended": self.ended}))
                    part.replace(self.folder / FILE)
                except OSError as error:
                    if not outage.passes(error):
                        raise unwritable(self.folder / FILE, error) from error


class Pulse:
    """A thread that repeats a few actions while its block runs, e.g. raising the counter that says "alive".

    A beat that cannot be written is left out: if the disk stays full, the search meets that with its next epoch.

    Args:
        seconds: Time between two beats.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self._actions: list[Callable[[], None]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="autotune-pulse", daemon=True)

    def add(self, action: Callable[[], None]) -> None:
        """Repeats one more action."""
        self._actions.append(action)

    def remove(self, action: Callable[[], None]) -> None:
        """Repeats an action no longer, if it did."""
        if action in self._actions:
            self._actions.remove(action)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self.seconds):
            for action in list(self._actions):
                with contextlib.suppress(OSError, StudyError):
                    action()
