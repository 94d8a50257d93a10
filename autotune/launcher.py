"""Launchers start workers; they never assign trials."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

FINAL = frozenset({2, 3, 4, 6, 8, 9, 130})
"""Exit codes of mistakes that starting again does not mend, and of a person's wish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """All that one worker needs; where it runs, its folders and its Python lie at the same paths as here.

    Attributes:
        argv: Its command.
        cwd: The folder that it runs in.
        env: Environment variables to add, among them those that are set here of ``AUTOTUNE_*`` and those that say where
            caches lie and that nothing is downloaded: ``XDG_CACHE_HOME``, ``HF_HOME``, ``TORCH_HOME``,
            ``HF_HUB_OFFLINE``, ``TRANSFORMERS_OFFLINE``.
        cpus: CPU cores.
        memory: Bytes, or None for the scheduler's default.
        gpus: GPUs, or a share of one.
        time_limit: Seconds, or None.
        grace: Seconds between the signal to stop and the kill.
        max_restarts: How often it is started again after a failure.
        final: Exit codes after which it is not; 0 says that nothing is left to do.
        log_dir: Where its output is added to ``worker-INDEX.log``; to be made.
        native: Options passed through to the scheduler; ``gpus`` are the names of those to share out, if any.
    """

    argv: Sequence[str]
    cwd: Path = field(default_factory=Path.cwd)
    env: Mapping[str, str] = field(default_factory=dict)
    cpus: int = 1
    memory: int | None = None
    gpus: float = 0.0
    time_limit: float | None = None
    grace: float = 30.0
    max_restarts: int = 3
    final: frozenset[int] = FINAL
    log_dir: Path
    native: Mapping[str, str] = field(default_factory=dict)


class WorkerState(StrEnum):
    """What a scheduler says of a worker: a hint; the truth is in the study's folder."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One worker of a group, as its scheduler sees it."""

    index: int
    state: WorkerState
    node: str | None = None
    native_id: str | None = None


class Launcher(ABC):
    """Starts identical workers on one machine or on a cluster.

    What they do is followed in the study's folder. It is built once for a command, which asks it from one thread.
    Whatever else than an AutotuneError a method raises is told as a mistake of the launcher's.
    """

    @abstractmethod
    def submit(self, spec: WorkerSpec, n: int, key: str) -> str:
        """Starts n workers and returns the group's id; the same key twice starts nothing twice.

        Raises:
            AutotuneError: They cannot be started; none of them runs on.
        """

    @abstractmethod
    def poll(self, group: str) -> Sequence[WorkerStatus]:
        """What has become of every worker of a group; asked several times a second."""

    @abstractmethod
    def cancel(self, group: str, index: int | None = None) -> None:
        """Asks one worker, or all, to checkpoint and stop, and kills who does not in the grace time; twice, at once."""
