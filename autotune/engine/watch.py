"""Time within an attempt: how long epochs take, and when a run, or a batch of them, has to stop."""

from __future__ import annotations

import time

from autotune.engine.signals import Signals
from autotune.trainer import StopReason

FIRST_TAIL = 0.1
MARGIN = 1.2


class Watch:
    """Times the epochs of one run, or of all runs of a batch, and says when to stop.

    All runs of a batch get the same answer within a round of questions; who asks again opens the next round. What
    an epoch takes is shared out among the runs that are still trained.

    Args:
        deadline: When the search ends, on the clock of ``time.monotonic``; None if it has no end.
        signals: Whether somebody asked to stop.
        tail: Seconds to leave for validation and saving at the end of an epoch; learned while running.

    Attributes:
        runs: How many runs share the time.
        asked: What the trainer was told to do, or None.
        batches: How many rounds of questions there were.
        share: A run's share of the last epoch, in seconds.
    """

    def __init__(self, deadline: float | None, signals: Signals, *, tail: float = 0.0) -> None:
        self.deadline = deadline
        self.signals = signals
        self.tail = tail
        self.runs = 1
        self.asked: StopReason | None = None
        self.batches = 0
        self.share = 0.0
        self._yielded = time.monotonic()
        self._last_stop: float | None = None
        self._gap = 0.0
        self._learned = False
        self._round: set[int] = set()

    def answer(self, run: int) -> StopReason | None:
        """Whether a run has to stop. Looks at a clock and a flag; touches no file."""
        if not self._round or run in self._round:
            self._round.clear()
            now = time.monotonic()
            if self._last_stop is not None and self._last_stop > self._yielded:
                self._gap = now - self._last_stop
            self._last_stop = now
            self.batches += 1
            if self.asked is None:
                self.asked = self._reason(now)
        self._round.add(run)
        return self.asked

    def arrived(self) -> None:
        """Told when epochs arrive: learns how long their end took, and what each run's share of the time is."""
        now = time.monotonic()
        if self._last_stop is not None and self._last_stop > self._yielded:
            self.tail = MARGIN * (now - self._last_stop)
            self._learned = True
        self.share, self._yielded = (now - self._yielded) / self.runs, now
        self._round.clear()

    @property
    def open_share(self) -> float:
        """A run's share of the seconds since epochs arrived."""
        return (time.monotonic() - self._yielded) / self.runs

    def pressed(self) -> StopReason | None:
        """What `answer` would be now, without a question by the trainer."""
        return self.asked or self._reason(time.monotonic())

    def _reason(self, now: float) -> StopReason | None:
        if self.signals.asked is not None:
            return "pause"
        if self.deadline is None:
            return None
        tail = self.tail if self._learned else max(self.tail, FIRST_TAIL * (now - self._yielded))
        return "deadline" if now + self._gap + tail >= self.deadline else None
