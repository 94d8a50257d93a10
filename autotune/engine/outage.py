"""What cannot be written for a while: said once, waited for where nothing else can be done.

A full disk gets room again, a folder that is read-only becomes writable, a file server comes back. Until then
checkpoints are done without; the lines that keep a study together are written again and again.
"""

from __future__ import annotations

import errno
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

PATIENCE = 600.0
"""Seconds that a search waits for a folder that takes nothing, before it ends and can be gone on with later."""
PAUSE = 0.2

T = TypeVar("T")

_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE})


@dataclass
class _Outages:
    """What this process knows of folders that take nothing.

    Attributes:
        seconds: How long to wait.
        stopped: Whether somebody asked to stop, so that nothing is waited for any more.
        told: What was warned about and has not ended.
    """

    seconds: float = 0.0
    stopped: Callable[[], bool] = lambda: False
    told: set[tuple[str, int]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


_outages = _Outages()


@contextmanager
def patient(seconds: float, stopped: Callable[[], bool]) -> Iterator[None]:
    """Lets everything that is written inside wait, while the folder takes nothing for the time being.

    Args:
        seconds: How long, from the first write on that fails.
        stopped: Asked while waiting; whether somebody wants an end.
    """
    before = _outages.seconds, _outages.stopped
    _outages.seconds, _outages.stopped = seconds, stopped
    try:
        yield
    finally:
        _outages.seconds, _outages.stopped = before
        _outages.told.clear()


def passes(error: OSError) -> bool:
    """Whether what an error tells of may pass by itself: a full disk, a read-only folder, a lost file server."""
    return error.errno in _PASSING


def insist(path: Path, write: Callable[[], T], check: Callable[[], None] | None = None) -> T:
    """Does what writes, and does it again while that cannot be and may pass.

    Args:
        path: What is written, for the warning.
        write: Leaves nothing half done when it raises.
        check: Asked before every time; raises where it must not be written any more.

    Raises:
        OSError: It cannot be written, and does not pass, or not in time.
    """
    began: float | None = None
    while True:
        if check is not None:
            check()
        try:
            done = write()
        except OSError as error:
            now = time.monotonic()
            began = now if began is None else began
            if not passes(error) or now - began >= _outages.seconds or _outages.stopped():
                raise
            warn_once(path.parent, error, f"{path}: cannot be written", "the search waits until it can")
            time.sleep(PAUSE)
        else:
            if began is not None:
                over(path.parent)
            return done


def warn_once(place: Path, error: OSError, what: str, then: str) -> None:
    """Warns of an error, once until it is over.

    Args:
        place: The folder that takes nothing.
        error: Why.
        what: The file, and what is the matter.
        then: What happens now.
    """
    key = (str(place), error.errno or 0)
    with _outages.lock:
        if key in _outages.told:
            return
        _outages.told.add(key)
    code = errno.errorcode.get(error.errno or 0, str(error.errno))
    warnings.warn(f"{what} ({code}: {error.strerror}); {then}", stacklevel=3)


def over(place: Path) -> None:
    """Forgets what was warned about of a folder: it can be written again."""
    with _outages.lock:
        _outages.told = {key for key in _outages.told if key[0] != str(place)}
