"""Launchers start workers; they never assign trials."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """What one worker needs.

    Attributes:
        argv: Its command.
        env: Environment variables to add.
        cpus: CPU cores.
        memory: Bytes, or None for the scheduler's default.
        gpus: GPUs, or a share of one.
        time_limit: Seconds, or None.
        grace: Seconds between the signal to stop and the kill.
        max_restarts: How often it is started again after a failure.
        log_dir: Where its output goes.
        native: Options passed through to the scheduler.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cpus: int = 1
    memory: int | None = None
    gpus: float = 0.0
    time_limit: float | None = None
    grace: float = 30.0
    max_restarts: int = 3
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
    """Starts identical workers on one machine or on a cluster."""

    @abstractmethod
    def submit(self, spec: WorkerSpec, n: int, key: str) -> str:
        """Starts n workers and returns the group's id; the same key twice starts nothing twice."""

    @abstractmethod
    def poll(self, group: str) -> Sequence[WorkerStatus]:
        """What has become of every worker of a group."""

    @abstractmethod
    def cancel(self, group: str, index: int | None = None) -> None:
        """Asks one worker, or all, to checkpoint and stop."""
