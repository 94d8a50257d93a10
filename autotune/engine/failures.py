"""Failures have names: what an exception, or a broken contract, makes of a trial."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any, cast, get_args

from autotune.checkpoint import write_atomically
from autotune.engine.lines import unwritable
from autotune.engine.outage import insist
from autotune.errors import AutotuneError, DataError, StudyError, TrialFailure
from autotune.study import Failure, FailureKind

FILE = "failure.json"
KINDS: tuple[str, ...] = get_args(FailureKind)


class BrokenContractError(Exception):
    """A trainer broke its contract, or its scores did; ends the trial.

    Args:
        kind: One of the six names.
        reason: One sentence for a person.
    """

    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


def failure_of(error: Exception, trainer: str) -> Failure:
    """What an exception out of a trainer means.

    Args:
        error: The exception, with its traceback.
        trainer: The trainer with its plugin, for the reason.
    """
    told = "".join(traceback.format_exception(error))
    if isinstance(error, BrokenContractError):
        return Failure(kind=error.kind, reason=error.reason, traceback=None)
    if isinstance(error, TrialFailure) and error.kind in KINDS and error.kind != "plugin":
        return Failure(kind=cast(FailureKind, error.kind), reason=error.message, traceback=told)
    if isinstance(error, DataError):
        return Failure(kind="data", reason=error.message, traceback=told)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Failure(kind="oom", reason=f"out of memory: {_line(error)}", traceback=told)
    said = error.message if isinstance(error, AutotuneError) else f"{type(error).__name__}: {_line(error)}"
    return Failure(kind="plugin", reason=f"{trainer} raised {said}", traceback=told)


def write_failure(folder: Path, failure: Failure) -> None:
    """Writes ``failure.json`` into a trial's folder.

    Raises:
        StudyError: The folder cannot be written.
    """
    facts = {"kind": failure.kind, "reason": failure.reason, "traceback": failure.traceback}
    try:
        content = json.dumps(facts, indent=1).encode()
        insist(folder / FILE, lambda: write_atomically(folder / FILE, content))
    except OSError as error:
        raise unwritable(folder / FILE, error) from error


def read_failure(folder: Path) -> Failure | None:
    """Reads ``failure.json``; None if there is none.

    Raises:
        StudyError: The file is damaged.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / FILE).read_text())
        return Failure(kind=facts["kind"], reason=facts["reason"], traceback=facts["traceback"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise StudyError(f"{folder / FILE}: is damaged ({error})") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or "without a message"
