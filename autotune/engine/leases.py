"""Leases: how workers see that an attempt's worker is alive.

An attempt is claimed by making its folder, under the study's lock. Its first line names its worker, and its file
``alive`` holds a counter that a thread of the worker raises. Who watches times the counter with a clock of its own,
so that clocks may differ: what stands still for as long as a lease lasts is nobody's any more. A worker of the same
machine whose process is over is not waited for. The attempts of a batch share one counter.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from autotune.engine.attempt import Claim, read_claim
from autotune.engine.lines import unwritable
from autotune.engine.processes import is_over

ALIVE = "alive"
_WIDTH = 12


class Counter:
    """The counter of an attempt that this process runs.

    Args:
        folder: The attempt's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ALIVE
        self._count = 0

    def beat(self) -> None:
        """Raises it, in place: so it needs no room on a full disk.

        Raises:
            StudyError: The folder cannot be written.
        """
        self._count += 1
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.pwrite(descriptor, f"{self._count:<{_WIDTH}d}\n".encode(), 0)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unwritable(self.path, error) from error


class Watcher:
    """Says which attempts may still have a worker.

    Args:
        study: The study's folder.
        clock: Seconds on the watcher's own clock. It stands still while this process does: who was stopped together
            with all others must not take the others for dead.
    """

    def __init__(self, study: Path, clock: Callable[[], float]) -> None:
        self.study = study
        self.clock = clock
        self._claims: dict[Path, Claim] = {}
        self._seen: dict[Path, tuple[bytes, float]] = {}

    def alive(self, folder: Path, lease: float) -> bool:
        """Whether the worker of an attempt that has not ended may be alive.

        The first sight of a counter starts its timing.

        Args:
            folder: The attempt's folder.
            lease: Seconds for which its counter may stand still.
        """
        claim = self._claims.get(folder) or read_claim(folder)
        if claim is None or is_over(claim.worker):
            return False  # who claims writes the first line under the lock that the caller has now
        self._claims[folder] = claim
        path = self.study / claim.lease / ALIVE
        try:
            count = path.read_bytes()
        except OSError:
            count = b""
        known, since = self._seen.get(path, (None, 0.0))
        now = self.clock()
        if count != known:
            self._seen[path] = (count, now)
            return True
        return now - since < lease
