"""Who runs what: marks of calls, by which others on the same machine see at once that one is over."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_present: set[str] = set()


def fresh_mark() -> str:
    """A name that nobody else bears, and that tells whose it is: ``MACHINE-PID-START-TOKEN``."""
    return f"{_process(os.getpid())}-{uuid.uuid4().hex[:16]}"


@contextmanager
def present() -> Iterator[str]:
    """A mark of its own for as long as the block runs."""
    own = fresh_mark()
    _present.add(own)
    try:
        yield own
    finally:
        _present.discard(own)


def is_over(mark: str) -> bool:
    """Whether the block of a mark is known to be over, e.g. because its process died; of other machines' nothing is."""
    if machine() and mark.startswith(f"{_process(os.getpid())}-"):
        return mark not in _present
    return is_dead(mark)


def is_dead(mark: str) -> bool:
    """Whether the process of a mark is known to be no more; of another machine's nothing is known."""
    try:
        where, pid, since, _ = mark.split("-")
        number = int(pid)
    except ValueError:
        return False
    if not where or where != machine() or number <= 0:
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    now = started(number)
    return now is not None and now != since


@cache
def _process(pid: int) -> str:
    """This process, as others on the same machine know it."""
    return f"{machine()}-{pid}-{started(pid) or 0}"


def started(pid: int) -> str | None:
    """When a process began, in the kernel's own count; "0" for one that is dead and not yet waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return "0" if fields[0] in (b"Z", b"X") else fields[19].decode()


@cache
def machine() -> str:
    """A mark of the machine since it booted, and of the container; empty where there is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        return hashlib.sha256(f"{boot} {os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:12]
    except OSError:
        return ""
