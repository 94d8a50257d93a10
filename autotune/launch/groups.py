"""A group: the workers that a launcher has started together."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from pathlib import Path

from autotune.launcher import Launcher, WorkerSpec, WorkerState

ENDED = (WorkerState.DONE, WorkerState.FAILED)
EVERY = 0.25
"""Seconds between two looks at workers."""
AT_ONCE = 3.0
"""Seconds for workers to end that were asked a second time."""


class Group:
    """Starts workers, and says what has become of them.

    Args:
        launcher: What starts them.
        spec: What each needs.
        workers: How many.
        key: Another one for every group.
    """

    def __init__(self, launcher: Launcher, spec: WorkerSpec, workers: int, key: str) -> None:
        self._launcher = launcher
        self._logs = spec.log_dir
        self._sizes = {log: log.stat().st_size for log in self._logs.glob("worker-*.log")}
        self._told: set[int] = set()
        self._name = launcher.submit(spec, workers, key)

    def is_over(self) -> bool:
        """Whether none of them runs, or will."""
        return all(status.state in ENDED for status in self._launcher.poll(self._name))

    def look(self) -> None:
        """Warns of workers that are not started again, once of each, while others go on."""
        statuses = self._launcher.poll(self._name)
        new = [s.index for s in statuses if s.state == WorkerState.FAILED and s.index not in self._told]
        left = sum(status.state not in ENDED for status in statuses)
        self._told.update(new)
        for index in new if left else ():
            log = self._logs / f"worker-{index}.log"
            said = self._last_error([log]) if log.exists() else ""
            warnings.warn(f"worker {index} is given up, {left} of {len(statuses)} go on{said}", stacklevel=2)

    def dismiss(self) -> None:
        """Ends those that there still are; the launcher kills those that do not end within their grace time."""
        if self.is_over():
            return
        self._launcher.cancel(self._name)
        try:
            while not self.is_over():
                time.sleep(EVERY)
        except KeyboardInterrupt:  # a second signal: at once
            self._launcher.cancel(self._name)
            until = time.monotonic() + AT_ONCE
            while not self.is_over() and time.monotonic() < until:
                time.sleep(EVERY / 5)
            raise

    def last_error(self) -> str:
        """What they said last of an error, to be put behind other words."""
        return self._last_error(self._logs.glob("worker-*.log"))

    def _last_error(self, logs: Iterable[Path]) -> str:
        """What the newest log says last of an error; what earlier groups wrote into it is passed over."""
        for log in sorted(logs, key=lambda path: path.stat().st_mtime, reverse=True):
            lines = log.read_bytes()[self._sizes.get(log, 0) :].decode(errors="replace").splitlines()
            if found := [line for line in lines if line.startswith("error: ") or "Error: " in line]:
                return f"; {log.stem} says: {found[-1].removeprefix('error: ')}"
        return ""
