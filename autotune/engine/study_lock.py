"""The lock under which trials are taken and ended: short, and broken when its holder stands still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from autotune.engine.journal_lock import Hold, JournalLock
from autotune.engine.lines import unwritable
from autotune.engine.outage import insist

NAME = "turn.lock"
PATIENCE = 10.0
"""Seconds after which a holder of another machine, or one that was stopped, counts as dead. On one machine, a process
that is no more is seen at once."""


class BrokenHoldError(Exception):
    """Somebody has broken the lock, for this process stood still while it held it; what was begun is begun again."""


class StudyLock:
    """The lock of one process; its main thread may take it again inside.

    Args:
        study: The study's folder.
    """

    def __init__(self, study: Path) -> None:
        self._lock = JournalLock(study / NAME, patience=PATIENCE)
        self._path = study / NAME
        self._hold: Hold | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the lock.

        Raises:
            StudyError: The folder cannot be written.
        """
        if self._hold is not None:
            yield
            return
        with ExitStack() as stack:
            try:
                self._hold = insist(self._path, lambda: stack.enter_context(self._lock.held()))
            except OSError as error:
                raise unwritable(self._path, error) from error
            try:
                yield
            finally:
                self._hold = None

    def check(self) -> None:
        """Asked right before anything that only one may do.

        Raises:
            BrokenHoldError: The lock is not held any more.
        """
        if self._hold is None or not self._hold.stands():
            raise BrokenHoldError
