"""The study's clock: active wall time over all calls, and what is left of it.

Time is active while at least one worker is at work; several at once are not added up. One of them, the keeper, adds
its own time to ``clock.json`` and raises a count there; the others read it. When the keeper leaves, or its count
stands still, another one keeps the time from there, so no two clocks are ever compared, but on one machine.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune.engine import outage
from autotune.engine.journal_lock import JournalLock
from autotune.engine.lines import unwritable
from autotune.engine.processes import machine
from autotune.errors import StudyError

FILE = "clock.json"
LOCK = "clock.lock"
STILL = 3.0
"""Seconds after which a keeper whose count stands still has gone."""
OFTEN = 0.2
"""Seconds between two times of writing: epochs may be shorter."""


def reserve(total: float) -> float:
    """Seconds kept at the end for finalists and saving: 4 %, from 2 s to 60 s, at most a third of the total."""
    return min(max(2.0, 0.04 * total), 60.0, total / 3)


def read_clock(folder: Path) -> dict[str, Any]:
    """What a study's clock file says.

    Returns:
        ``spent`` in seconds; ``ended``, why and at which totals the search ended; ``ready``, whether workers may
        begin; ``handed``, whether the best model of that end was handed over; ``keeper``, who keeps the time,
        ``count``, which it raises, and ``at`` on the clock of its ``machine``.

    Raises:
        StudyError: The file is damaged.
    """
    try:
        facts = json.loads((folder / FILE).read_text())
        return {
            "spent": float(facts.get("spent", 0.0)),
            "ended": facts.get("ended"),
            "ready": bool(facts.get("ready", False)),
            "handed": bool(facts.get("handed", False)),
            "keeper": facts.get("keeper"),
            "count": int(facts.get("count", 0)),
            "at": float(facts.get("at", 0.0)),
            "machine": str(facts.get("machine", "")),
        }
    except FileNotFoundError:
        nobody = {"keeper": None, "count": 0, "at": 0.0, "machine": ""}
        return {"spent": 0.0, "ended": None, "ready": False, "handed": False, **nobody}
    except (ValueError, TypeError, AttributeError) as error:
        raise StudyError(
            f"{folder / FILE}: is damaged ({error})", hint="remove it; the study's time then counts from 0 again"
        ) from error


class Clock:
    """Counts a study's active wall time over all calls.

    Time runs from `started`; what earlier calls spent is added once the clock is opened, and from then on `save` keeps
    the sum in ``clock.json``.

    Args:
        folder: The study's folder.
        total: All the time that the study has, in seconds, over all calls; None if it has no end.
        started: When this call began, on ``time.monotonic``; by default now.

    Attributes:
        before: Seconds that were spent before this call.
        ended: Why the search has ended, and at which totals; None while it has not.
        ready: Whether workers may begin: candidates and first recipes are settled.
    """

    def __init__(self, folder: Path, total: float | None = None, *, started: float | None = None) -> None:
        self.folder = folder
        self.total = total
        self.ended: dict[str, Any] | None = None
        self.ready = False
        self.before = 0.0
        self._me = uuid.uuid4().hex[:12]
        self._since = time.monotonic() if started is None else started
        self._base = 0.0  # spent at `_since`
        self._known: tuple[str | None, int] = (None, 0)  # keeper and count, as they were seen last, and when
        self._seen = 0.0
        self._trusted = False  # whether that keeper was ever seen at work
        self._saved = -1.0
        self._changes: dict[str, Any] = {}
        self._opened = False
        self._resting = False
        self._lock = threading.RLock()

    def open(self) -> None:
        """Adds what was spent before; a second time does nothing.

        Where others are at work on this machine, this call's time since it began is part of theirs.
        """
        if self._opened:
            return
        facts, now = read_clock(self.folder), time.monotonic()
        self._base = self.before = facts["spent"]
        self.ended, self.ready = facts["ended"], facts["ready"]
        self._known, self._seen = (facts["keeper"], facts["count"]), now
        if _at_work(facts, now):
            self._since, self._trusted = facts["at"], True
        self._opened = True

    @property
    def spent(self) -> float:
        """Seconds of active wall time over all calls, this one included."""
        return self.before if self._resting else self._base + time.monotonic() - self._since

    @property
    def deadline(self) -> float | None:
        """When everything ends, on ``time.monotonic``."""
        return None if self.total is None else self._since + self.total - self._base

    @property
    def search_deadline(self) -> float | None:
        """When the search ends, so that finalists and saving still fit, on ``time.monotonic``."""
        return None if self.total is None or self.deadline is None else self.deadline - reserve(self.total)

    @property
    def left(self) -> float:
        """Seconds left for the search; infinite without a total."""
        return float("inf") if self.search_deadline is None else self.search_deadline - time.monotonic()

    def end(self, reason: str, *, trials: int | None) -> None:
        """Records that the search has ended at the present totals, so that the same call again does nothing."""
        self.ended = {"time": self.total, "trials": trials, "reason": reason}
        self._exchange(ended=self.ended)

    def hand_over(self) -> None:
        """Records that the best model was handed over and the report written."""
        self._exchange(handed=True)

    def reopen(self) -> None:
        """Forgets that the search has ended; a larger total came."""
        self.ended = None
        self._exchange(ended=None, handed=False)

    def begin(self) -> None:
        """Lets other workers begin."""
        if not self.ready:
            self.ready = True
            self._exchange(ready=True)

    def rest(self) -> None:
        """Leaves this call out of the count: the study was done before it."""
        self._resting = True

    def save(self) -> None:
        """Writes the time spent, or reads what the keeper wrote; nothing before `open`.

        While the disk is full, or the folder read-only, the time is written with the next call.

        Raises:
            StudyError: The folder cannot be written.
        """
        if time.monotonic() - self._saved > OFTEN:
            self._exchange()

    def beat(self) -> None:
        """Does what `save` does, and says so if the folder takes nothing for the time being.

        Raises:
            StudyError: The folder cannot be written.
        """
        self._exchange(patient=False)

    def close(self) -> None:
        """Writes the time spent, and keeps it no longer."""
        self._exchange(leave=True)

    def _exchange(self, *, leave: bool = False, patient: bool = True, **changes: Any) -> None:
        if not self._opened:
            return
        with self._lock:
            self._changes |= changes  # kept until they are written
            try:
                with JournalLock(self.folder / LOCK).held():
                    self._meet(read_clock(self.folder), leave=leave)
            except OSError as error:
                if not (patient and outage.passes(error)):
                    raise unwritable(self.folder / FILE, error) from error

    def _meet(self, facts: dict[str, Any], *, leave: bool) -> None:
        """Keeps the time, or takes what its keeper says."""
        now = time.monotonic()
        known = (facts["keeper"], facts["count"])
        mine = facts["keeper"] in (None, self._me)
        if not mine and known != self._known:
            self._known, self._seen, self._trusted = known, now, True
            self._base, self._since = facts["spent"], facts["at"] if _at_work(facts, now) else now
        elif not mine:
            mine = leave or not self._trusted or now - self._seen >= STILL
        facts = {**facts, **self._changes}
        self.ended, self.ready = facts["ended"], facts["ready"]
        if mine:
            spent = self.before if self._resting else max(self._base + now - self._since, facts["spent"])
            keeper, count = None if leave else self._me, facts["count"] + 1
            facts |= {"spent": spent, "keeper": keeper, "count": count, "at": now, "machine": machine()}
        if mine or self._changes:
            # renamed into place, but not waited for: a power cut may cost some seconds, an epoch must not
            part = self.folder / f".{FILE}.part"
            part.write_text(json.dumps({**facts, "spent": round(facts["spent"], 3)}))
            part.replace(self.folder / FILE)
            self._changes = {}
        if mine:
            self._base, self._since = (facts["spent"], now) if not self._resting else (self._base, self._since)
            self._known, self._seen = (facts["keeper"], facts["count"]), now
        self._saved = now


def _at_work(facts: dict[str, Any], now: float) -> bool:
    """Whether the keeper is on this machine and was at work right now; its clock is ours then."""
    here = machine() != "" and facts["machine"] == machine()
    return facts["keeper"] is not None and here and 0 <= now - facts["at"] < STILL


class Pulse:
    """A thread that repeats a few actions while its block runs, e.g. raising the counter that says "alive".

    A beat that cannot be written is left out: if the disk stays full, the search meets that with its next epoch.

    Args:
        seconds: Time between two beats.

    Attributes:
        awake: Seconds that this process has been at work and could write. It stands still while the process is
            stopped, the machine sleeps or the folder takes nothing: nobody else can be judged by such a time.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.awake = 0.0
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
        before = time.monotonic()
        while not self._stop.wait(self.seconds):
            done = [self._beat(action) for action in list(self._actions)]
            now = time.monotonic()
            if all(done):
                self.awake += min(now - before, 2 * self.seconds)
            before = now

    def _beat(self, action: Callable[[], None]) -> bool:
        """Does one action; says whether it could be written."""
        try:
            action()
        except (OSError, StudyError):
            return False
        return True
