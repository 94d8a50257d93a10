"""The ledger of test sets: who opened which one, when, with what result.

One ledger lies in the study's folder and travels with it; the other lies in this machine's cache under the
test set's fingerprint, so that a new study on the same images does not start counting afresh.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autotune.errors import StudyError


def opened(study: Path, cache: Path, fingerprint: str) -> int:
    """How often a test set was opened: the larger of the two ledgers' counts.

    Args:
        study: The study's folder.
        cache: autotune's cache folder.
        fingerprint: The test set's; see `autotune.data.Holdout`.
    """
    return max(_count(path, fingerprint) for path in _ledgers(study, cache, fingerprint))


def record(study: Path, cache: Path, fingerprint: str, result: Mapping[str, Any]) -> int:
    """Writes an opening into both ledgers and returns how often the set has been opened, this time included.

    Raises:
        StudyError: A ledger cannot be written; the result must then not be shown.
    """
    line = {
        "test": fingerprint,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": f"{_person()}@{socket.gethostname()}",
        "study": str(study.resolve()),
        **result,
    }
    for path in _ledgers(study, cache, fingerprint):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a+b") as file:
                _end_line(file)
                file.write(json.dumps(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StudyError(
                f"{path}: the opening of the test set cannot be recorded ({error.strerror})",
                hint="an unrecorded result is not shown: make the folder writable, or set AUTOTUNE_CACHE_DIR",
            ) from error
    return opened(study, cache, fingerprint)


def _ledgers(study: Path, cache: Path, fingerprint: str) -> tuple[Path, Path]:
    return study / "ledger.jsonl", cache / "ledger" / f"{fingerprint}.jsonl"


def _count(path: Path, fingerprint: str) -> int:
    if not path.is_file():
        return 0
    count = 0
    for line in path.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            # A torn line is an opening whose record a crash cut off: it counts.
            count += 1
        else:
            count += isinstance(entry, dict) and entry.get("test") == fingerprint
    return count


def _end_line(file: Any) -> None:
    """Ends a torn last line, so that the next entry stands on its own."""
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


def _person() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
