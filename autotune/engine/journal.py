"""Optuna's journal as a file that deaths, full disks and other workers do not break.

It is what Optuna's own ``JournalFileBackend`` reads and writes, a json object a line. A last line that was torn is cut
off under the lock before anything is written; damage further up is an error that names its line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from autotune.engine.journal_lock import JournalLock
from autotune.engine.lines import cut_back, write_whole
from autotune.engine.outage import insist
from autotune.errors import StudyError

LOCK = "journal.lock"
_CREATE_STUDY, _CREATE_TRIAL, _STATE, _USER_ATTR = 0, 4, 6, 8
NUMBER = "number"
"""The attribute that holds a trial's own number; who has one is whole."""
_MOST = 10


class JournalFile(BaseJournalBackend):
    """A journal's file.

    Args:
        path: The file; it need not be there.
        lock: Held while it is written; None for a file that nobody else knows of.

    Attributes:
        line: The line that was read last, from 1.
    """

    def __init__(self, path: Path, lock: JournalLock | None) -> None:
        self.path = path
        self.line = 0
        self._lock = lock
        self._starts = [0]
        self._inode: int | None = None
        self._mended = False

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """The operations from a number on; a torn last one is left out.

        Raises:
            StudyError: A line is damaged that is not the last one, or somebody has put another file in its place.
        """
        begin = min(log_number_from, len(self._starts) - 1)
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                self._inode = self._inode or status.st_ino
                if status.st_ino != self._inode or status.st_size < self._starts[begin]:
                    raise StudyError(
                        f"{self.path}: the journal was replaced while it was in use",
                        hint="end all workers of the study, then run the same command again",
                    )
                file.seek(self._starts[begin])
                content = file.read()
        except FileNotFoundError:
            return
        lines = list(split_lines(content))
        for place, line in enumerate(lines):
            number = begin + place
            log, problem = parse(line)
            if log is None:
                if place == len(lines) - 1:
                    return
                raise damaged(self.path, number + 1, problem)
            if number + 1 == len(self._starts):
                self._starts.append(self._starts[number] + len(line))
            self.line = number + 1
            if number >= log_number_from:
                yield log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds operations, all of them or none.

        Raises:
            OSError: They cannot be written.
        """
        blob = b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)
        if self._lock is None:
            insist(self.path, lambda: write_whole(self.path, blob))
            return
        while not insist(self.path, lambda: self._append(blob)):
            continue  # this process was stopped for so long that another one broke its lock
        if any(_is_kept(log) for log in logs):
            insist(self.path, self._keep)

    def _append(self, blob: bytes) -> bool:
        """Writes under the lock; says whether it was still held."""
        if self._lock is None:
            return False
        with self._lock.held() as hold:
            if not self._mended:
                cut_torn_log(self.path, hold.stands)
                self._mended = True
            return write_whole(self.path, blob, may=hold.stands)

    def _keep(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_kept(log: dict[str, Any]) -> bool:
    """Whether an operation is on the disk, with all before it, when the caller goes on.

    A trial that is asked for gets its number next: it is kept with that.
    """
    code = log["op_code"]
    if code == _CREATE_TRIAL:
        return bool(log.get("user_attrs"))
    return NUMBER in log.get("user_attr", ()) if code == _USER_ATTR else code in (_CREATE_STUDY, _STATE)


def parse(line: bytes) -> tuple[dict[str, Any] | None, str]:
    """One operation of a journal, or None and what is wrong with its line."""
    if not line.endswith(b"\n"):
        return None, "it has no end"
    try:
        log = json.loads(line)
    except ValueError as error:
        return None, str(error)
    if not isinstance(log, dict):
        return None, f"it holds {type(log).__name__}, no operation"
    code = log.get("op_code")
    if type(code) is not int or not 0 <= code <= _MOST or not isinstance(log.get("worker_id"), str):
        return None, "it holds no operation that Optuna knows"
    return log, ""


def cut_torn_log(path: Path, may: Callable[[], bool]) -> bool:
    """Cuts off a last line that was torn, or holds no operation; says whether there was one.

    Args:
        path: The journal, which the caller has locked.
        may: Asked right before: whether it still is.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - (1 << 20)))
            tail = file.read()
    except FileNotFoundError:
        return False
    lines = list(split_lines(tail))
    if not lines or parse(lines[-1])[0] is not None or (len(lines) == 1 and len(tail) < size):
        return False
    return cut_back(path, size - len(lines[-1]), size, may)


def damaged(path: Path, line: int, problem: str) -> StudyError:
    """What a person is told of a journal that cannot be read."""
    return StudyError(
        f"{path}: the journal is damaged in line {line} ({problem})",
        hint=f"rebuild it from what is whole: autotune storage salvage {path.parent}",
    )


def split_lines(content: bytes) -> Iterator[bytes]:
    """The lines of a journal, each with its end as far as it has one."""
    begin = 0
    while begin < len(content):
        end = content.find(b"\n", begin) + 1 or len(content)
        yield content[begin:end]
        begin = end
