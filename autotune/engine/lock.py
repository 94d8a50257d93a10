"""The lock on a study's folder: one process searches there at a time, and the lock dies with it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autotune.engine.lines import unwritable
from autotune.errors import StudyError

_held: dict[Path, int] = {}


class InUseError(StudyError):
    """Another process has claimed the folder."""


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Holds the study's folder for this process; it may be claimed again inside.

    Args:
        folder: The study's folder; it exists.

    Raises:
        InUseError: Another process is searching there.
        StudyError: The folder cannot be written.
    """
    path = (folder / "lock").resolve()
    if path in _held:
        yield
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StudyError(f"{folder}: cannot be written ({error.strerror})") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise InUseError(
                f"{folder}: another process ({pid}) is searching here",
                hint=f"join it (autotune worker {folder}), wait for it, stop it (kill {pid}), or name another study",
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise unwritable(path, error) from error
        _held[path] = descriptor
        yield
    finally:
        if _held.pop(path, None) is not None:
            _leave_nothing(path)
        os.close(descriptor)


def _leave_nothing(path: Path) -> None:
    """Removes the lock, and the folder, where no study came of it: a folder without one would be refused later."""
    with suppress(FileNotFoundError):  # somebody has removed the folder meanwhile
        if [p.name for p in path.parent.iterdir()] == [path.name]:
            path.unlink()
            path.parent.rmdir()
