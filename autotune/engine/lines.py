"""Files of json lines: appended durably, read leniently at a torn end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autotune.errors import StudyError


def append_line(path: Path, record: Mapping[str, Any], *, durable: bool = True) -> None:
    """Adds one record as a line and, if it is to be durable, waits until it is on the disk.

    Raises:
        StudyError: The line cannot be written, e.g. because the disk is full.
    """
    try:
        with path.open("ab") as file:
            file.write(json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n")
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from error


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
            content = file.read()
            end = content.rfind(b"\n") + 1
            if end == len(content):
                return False
            file.truncate(end)
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
