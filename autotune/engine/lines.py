"""Files of json lines: appended whole and durably, read leniently at a torn end."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from autotune.engine.outage import insist
from autotune.errors import StudyError

_TAIL = 1 << 16


def append_line(path: Path, record: Mapping[str, Any], *, durable: bool = True, patient: bool = True) -> None:
    """Adds one record as a line, all of it or nothing, and, if it is to be durable, waits until it is on the disk.

    While the folder takes nothing for the time being, a search waits for it, unless it is not patient; see
    `autotune.engine.outage`.

    Raises:
        StudyError: The line cannot be written, e.g. because the disk is full.
    """
    blob = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    try:
        if patient:
            insist(path, lambda: write_whole(path, blob, durable=durable))
        else:
            write_whole(path, blob, durable=durable)
    except OSError as error:
        raise unwritable(path, error) from error


def write_whole(path: Path, blob: bytes, *, durable: bool = False, may: Callable[[], bool] = lambda: True) -> bool:
    """Adds whole lines to a file, or nothing; what a death left of a last line is cut off before.

    Args:
        path: The file, which nobody else writes to meanwhile.
        blob: The lines, each with its end.
        durable: Whether to wait until they are on the disk.
        may: Asked right before writing: whether that nobody else writes still holds.

    Returns:
        Whether it was written.

    Raises:
        OSError: It cannot be written; the file is as it was.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        whole = _whole(descriptor, size)
        if not may():
            return False
        if whole < size:
            os.ftruncate(descriptor, whole)
        try:
            left = memoryview(blob)
            while left:
                left = left[os.write(descriptor, left) :]
            if durable:
                os.fsync(descriptor)
        except OSError:
            if may():
                with contextlib.suppress(OSError):  # the next one to write cuts it off
                    os.ftruncate(descriptor, whole)
            raise
        return True
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


def _whole(descriptor: int, size: int) -> int:
    """Bytes of a file up to the end of its last whole line."""
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    end = size
    while end > 0:
        start = max(0, end - _TAIL)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def cut_back(path: Path, end: int, size: int, may: Callable[[], bool] = lambda: True) -> bool:
    """Cuts a file back, unless it has changed its size since or the caller may no longer write; says whether it did."""
    with path.open("r+b") as file:
        if os.fstat(file.fileno()).st_size != size or not may():
            return False
        file.truncate(end)
        os.fsync(file.fileno())
        return True


def unwritable(path: Path, error: OSError) -> StudyError:
    """What a person is told of a file, or a folder, that cannot be written."""
    return StudyError(
        f"{path}: cannot be written ({error.strerror or error})", hint="make room, then run the same command again"
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every whole record; a last line that was torn by a crash is left out.

    Raises:
        StudyError: A line further up is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = content[: content.rfind(b"\n") + 1].splitlines()
    records = []
    for number, line in enumerate(whole, start=1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise StudyError(
                f"{path}:{number}: the line is damaged ({error})",
                hint="remove that line, or the attempt's folder, and run the same command again",
            ) from error
    return records


def cut_torn_line(path: Path) -> bool:
    """Cuts a file back to its last whole line; says whether there was anything to cut.

    The caller makes sure that nobody writes to it meanwhile.
    """
    try:
        with path.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            whole = _whole(file.fileno(), size)
            if whole == size:
                return False
            file.truncate(whole)
            os.fsync(file.fileno())
            return True
    except FileNotFoundError:
        return False


def settle(paths: Iterable[Path]) -> None:
    """Waits until files that were written before are on the disk; those that are gone are left out."""
    for path in paths:
        try:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        except FileNotFoundError:
            continue
