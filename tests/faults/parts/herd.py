"""The processes of one command: found by a variable in their environment, wherever they were re-parented."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

MARK = "AUTOTUNE_FAULTS"


class Herd:
    """A launcher, the workers that it starts, and whatever they start.

    Args:
        command: What starts the launcher.
        env: Environment variables of its own.
        said: File to which it and its workers write.
        worker: A word that stands in the command of every worker.
    """

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], said: Path, worker: str = "worker") -> None:
        self.command = list(command)
        self.mark = uuid.uuid4().hex
        self.env = {**os.environ, **env, MARK: self.mark}
        self.said = said
        self.worker = worker.encode()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the launcher in a session of its own; one that was started before has ended."""
        with self.said.open("ab") as file:
            self._process = subprocess.Popen(
                self.command, env=self.env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )

    @property
    def code(self) -> int | None:
        """The launcher's exit code; None while it runs."""
        return None if self._process is None else self._process.poll()

    def launcher(self) -> list[int]:
        """The launcher's process, if it runs."""
        return [] if self._process is None or self.code is not None else [self._process.pid]

    def workers(self) -> list[int]:
        """The workers, those of earlier launchers included."""
        lead = self.launcher()
        return [p for p in self.members() if p not in lead and self.worker in _read(p, "cmdline").split(b"\0")]

    def members(self) -> list[int]:
        """Every process that lives, by its id."""
        wanted = f"{MARK}={self.mark}".encode()
        found = (int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal())
        return sorted(p for p in found if wanted in _read(p, "environ").split(b"\0"))

    def signal(self, processes: Iterable[int], number: signal.Signals) -> None:
        """Sends a signal to those that still live; nobody else who may bear such an id by now gets it."""
        living = set(self.members())
        for process in processes:
            if process in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)

    def end(self) -> None:
        """Ends all of them."""
        while members := self.members():
            self.signal(members, signal.SIGKILL)
            if self._process is not None:
                self._process.poll()
            time.sleep(0.02)
        if self._process is not None:
            self._process.wait()


def _read(process: int, name: str) -> bytes:
    """A file of /proc; empty once the process has ended."""
    try:
        return Path(f"/proc/{process}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
