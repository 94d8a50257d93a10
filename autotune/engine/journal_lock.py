"""A lock between processes, on whatever machines, that a dead holder cannot keep.

A folder holds one empty file, the token. Its name says who has it: ``free``, or a name that one holder bears once.
Taking the lock, giving it back and breaking it are each one rename of exactly that name, which is atomic, also over
NFS: of two who break the same hold one succeeds, and nobody can take away what somebody else has just taken. It needs
neither clocks that agree nor ``flock``.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autotune.engine.processes import fresh_mark, is_dead

FREE = "free"
PATIENCE = 3.0
"""Seconds, on the clock of who waits, after which a hold that does not end counts as a dead one's."""
_LONGEST = 0.05

_left: set[str] = set()
"""What this process has had and could not give back."""


@dataclass(frozen=True, slots=True)
class Hold:
    """One time of having the lock.

    Attributes:
        path: The token, as long as it bears this hold's name.
    """

    path: Path

    def stands(self) -> bool:
        """Whether nobody has broken it, e.g. while this process was stopped."""
        return self.path.exists()


class JournalLock:
    """The lock.

    Args:
        folder: Where the token lies; made by who takes the lock first.
        patience: Seconds that a hold may last. That of a process that is seen to be dead is broken at once.
    """

    def __init__(self, folder: Path, *, patience: float = PATIENCE) -> None:
        self.folder = folder
        self.patience = patience

    @contextmanager
    def held(self) -> Iterator[Hold]:
        """Holds the lock; it must not be taken again inside.

        Raises:
            OSError: The folder cannot be written.
        """
        name = self._take()
        try:
            yield Hold(self.folder / name)
        finally:
            self._give_back(name)

    def _take(self) -> str:
        mine = fresh_mark()
        pause, seen, since = 0.001, frozenset[str](), time.monotonic()
        while not self._renamed(FREE, mine):
            tokens, now = self._tokens(), time.monotonic()
            if mine in tokens:
                return mine  # a server that answers twice tells of a rename that was done as failed
            if tokens != seen:
                seen, since = tokens, now
            holder = next(iter(tokens)) if len(tokens) == 1 else ""
            late = now - since > self.patience
            if holder and holder != FREE and (late or holder in _left or is_dead(holder)):
                if self._renamed(holder, mine):
                    return mine
            elif late and len(tokens) > 1:
                self._drop(sorted(tokens)[1:])
            else:
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, _LONGEST)
        return mine

    def _give_back(self, name: str) -> None:
        try:
            os.rename(self.folder / name, self.folder / FREE)
        except FileNotFoundError:
            return  # somebody has broken it
        except OSError:
            _left.add(name)  # what was done under it is done; others break it, and this process takes it again

    def _renamed(self, before: str, after: str) -> bool:
        try:
            os.rename(self.folder / before, self.folder / after)
        except FileNotFoundError:
            return False
        return True

    def _tokens(self) -> frozenset[str]:
        """The tokens; several only where a copy of the folder was made while the lock was in use."""
        with contextlib.suppress(FileNotFoundError):
            if found := os.listdir(self.folder):
                return frozenset(found)
        self._make()
        return frozenset()

    def _make(self) -> None:
        """Puts the folder with its token in place at once, and only where there is none."""
        fresh = self.folder.with_name(f"{self.folder.name}.{uuid.uuid4().hex}.new")
        fresh.mkdir()
        try:
            (fresh / FREE).touch()
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                os.rename(fresh, self.folder)
        except OSError as error:
            if not self.folder.is_dir():  # else it was not empty, which is told in several ways
                raise OSError(error.errno, error.strerror, str(self.folder)) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _drop(self, tokens: list[str]) -> None:
        for name in tokens:
            (self.folder / name).unlink(missing_ok=True)
