"""Locks on files of the cache (`flock`): they die with their holder, and a removed file's lock counts for nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


def hold(path: Path) -> int | None:
    """Marks a file as in use until the returned descriptor is closed; None if it is not there.

    Raises:
        OSError: It cannot be opened.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            same = is_at(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        if same:
            return descriptor
        os.close(descriptor)  # removed between opening and locking


def claim(path: Path) -> int | None:
    """Takes a file that nobody else has locked, until the returned descriptor is closed; None if somebody has.

    Raises:
        OSError: It cannot be opened for writing.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        same = is_at(descriptor, path)
    except BlockingIOError:
        same = False
    except BaseException:
        os.close(descriptor)
        raise
    if same:
        return descriptor
    os.close(descriptor)
    return None


def lock(path: Path) -> int | None:
    """Takes a lock file, to be given back by `unlock`; None if somebody else holds it.

    Raises:
        OSError: The file can be neither made nor read, or its file system has no locks.
    """
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = is_at(descriptor, path)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if same:
            return descriptor
        os.close(descriptor)  # its holder removed the file while giving it back


def unlock(path: Path, descriptor: int) -> None:
    """Gives a lock file back and removes it, unless the path names somebody else's by now."""
    try:
        # In a folder where each removes only what is theirs, another user's file stays, locked by nobody.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if is_at(descriptor, path):
                path.unlink()
    finally:
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one that a path names now."""
    try:
        there = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _open(path: Path) -> int:
    """Opens a lock file, which is made if it is not there; one of another user is only read, which is enough."""
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            try:
                return os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                removed_meanwhile = os.access(path.parent, os.W_OK | os.X_OK)
            if not removed_meanwhile:
                raise
