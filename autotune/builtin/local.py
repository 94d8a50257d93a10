"""The launcher ``local``: workers as processes of this machine, each on its own share of the cores or on its GPU."""

from __future__ import annotations

import itertools
import os
import platform
import signal
import subprocess
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from autotune import Launcher, LauncherSpec, WorkerSpec, WorkerState, WorkerStatus, hookimpl

FIRST, LONGEST = 0.5, 30.0
"""Seconds before the first start again, and at most; each death in a row doubles them."""
WELL = 60.0
"""Seconds after which a worker that dies has done well, so that its next pause is a short one."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(kw_only=True)
class _Worker:
    """One worker, and what became of it.

    Attributes:
        env: Its environment variables.
        cores: The cores that it may use; empty leaves that to the system.
        process: Its process; None before its first start.
        begun: When that was started.
        restarts: How often it was started again.
        pause: Seconds before it is started again.
        due: When it is; None while it runs, or is not.
        state: What it does.
    """

    env: dict[str, str]
    cores: frozenset[int]
    process: subprocess.Popen[bytes] | None = None
    begun: float = 0.0
    restarts: int = 0
    pause: float = FIRST
    due: float | None = None
    state: WorkerState = WorkerState.QUEUED


@dataclass(kw_only=True)
class _Group:
    spec: WorkerSpec
    workers: list[_Worker]
    until: dict[int, float] = field(default_factory=dict)


class LocalLauncher(Launcher):
    """Starts workers here. They are looked after whenever `poll` is called, so call it a few times a second.

    The native option ``gpus`` lists devices, e.g. ``0,1``: workers take turns among them.
    """

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    def submit(self, spec: WorkerSpec, n: int, key: str) -> str:
        """See `autotune.Launcher.submit`."""
        if key not in self._groups:
            gpus = [gpu for gpu in spec.native.get("gpus", "").split(",") if gpu]
            workers = []
            for index, cores in enumerate(shares(n)):
                env = {**spec.env, **({"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} if gpus else {})}
                threads = str(len(cores) or 1)
                env |= {name: threads for name in THREADS if name not in os.environ and name not in env}
                workers.append(_Worker(env=env, cores=cores))
            self._groups[key] = _Group(spec=spec, workers=workers)
            spec.log_dir.mkdir(parents=True, exist_ok=True)
            try:
                self.poll(key)
            except OSError:  # some may have started
                self.cancel(key)
                raise
        return key

    def poll(self, group: str) -> Sequence[WorkerStatus]:
        """See `autotune.Launcher.poll`; starts again what has died, and ends what does not end by itself."""
        found, node = self._groups[group], platform.node()
        for index, worker in enumerate(found.workers):
            self._attend(found, index, worker)
        return [
            WorkerStatus(
                index=index,
                state=worker.state,
                node=node,
                native_id=None if worker.process is None else str(worker.process.pid),
            )
            for index, worker in enumerate(found.workers)
        ]

    def cancel(self, group: str, index: int | None = None) -> None:
        """See `autotune.Launcher.cancel`; a second time asks for an end at once."""
        found = self._groups[group]
        for number in range(len(found.workers)) if index is None else [index]:
            found.until.setdefault(number, time.monotonic() + found.spec.grace)
            worker = found.workers[number]
            if worker.process is not None and worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)

    def _attend(self, group: _Group, index: int, worker: _Worker) -> None:
        now, until = time.monotonic(), group.until.get(index)
        if worker.state in (WorkerState.QUEUED, WorkerState.RETRYING):
            if until is not None:
                worker.state = WorkerState.DONE
            elif worker.due is None:
                self._start(group.spec, index, worker)
            elif now >= worker.due:
                self._start_again(group.spec, index, worker)
        elif worker.state == WorkerState.RUNNING and worker.process is not None:
            code = worker.process.poll()
            if code is None:
                if until is not None and now > until:
                    worker.process.kill()
            elif code == 0 or until is not None:
                worker.state = WorkerState.DONE
            elif code in group.spec.final or worker.restarts >= group.spec.max_restarts:
                worker.state = WorkerState.FAILED
            else:
                worker.pause = FIRST if now - worker.begun > WELL else worker.pause
                self._delay(worker)

    def _delay(self, worker: _Worker) -> None:
        worker.state, worker.due = WorkerState.RETRYING, time.monotonic() + worker.pause
        worker.restarts, worker.pause = worker.restarts + 1, min(2 * worker.pause, LONGEST)

    def _start_again(self, spec: WorkerSpec, index: int, worker: _Worker) -> None:
        """Starts one anew; where that fails, e.g. because the folder is read-only for a while, later."""
        try:
            self._start(spec, index, worker)
        except OSError as error:
            if worker.restarts >= spec.max_restarts:
                raise
            warnings.warn(f"worker {index} cannot be started again yet: {error}", stacklevel=2)
            self._delay(worker)

    def _start(self, spec: WorkerSpec, index: int, worker: _Worker) -> None:
        with (spec.log_dir / f"worker-{index}.log").open("ab") as log:
            worker.process = subprocess.Popen(
                spec.argv,
                cwd=spec.cwd,
                env={**os.environ, **worker.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for who launched it, who passes it on
            )
        if worker.cores:
            os.sched_setaffinity(worker.process.pid, worker.cores)  # before it has more threads than one
        worker.begun, worker.due, worker.state = time.monotonic(), None, WorkerState.RUNNING


def shares(n: int) -> list[frozenset[int]]:
    """The cores that this process may use, shared out among n workers as evenly as can be.

    With more workers than cores, each has one; empty shares where the system pins nothing.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [frozenset()] * n
    cores = sorted(os.sched_getaffinity(0))
    if n >= len(cores):
        return [frozenset({cores[i % len(cores)]}) for i in range(n)]
    edges = [i * len(cores) // n for i in range(n + 1)]
    return [frozenset(cores[a:b]) for a, b in itertools.pairwise(edges)]


@hookimpl
def autotune_launchers() -> Iterable[LauncherSpec]:
    """Offers ``local``."""
    return [LauncherSpec(name="local", summary="Processes of this machine", build=LocalLauncher)]
