"""A group: the workers that a launcher has started together."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from autotune.errors import AutotuneError, PluginError
from autotune.launcher import Launcher, WorkerSpec, WorkerState, WorkerStatus

ENDED = (WorkerState.DONE, WorkerState.FAILED)
EVERY = 0.25
"""Seconds between two looks at workers."""
AT_ONCE = 3.0
"""Seconds for workers to end that were asked a second time."""


class Group:
    """Starts workers, and says what has become of them.

    Args:
        launcher: What starts them.
        spec: What each needs.
        workers: How many.
        key: Another one for every group.
        called: The launcher with its name, for messages.

    Raises:
        PluginError: The launcher has failed, here or later.
    """

    def __init__(self, launcher: Launcher, spec: WorkerSpec, workers: int, key: str, called: str) -> None:
        self._launcher = launcher
        self._called = called
        self._grace = spec.grace
        self._over = False
        self._logs = spec.log_dir
        self._sizes = {log: log.stat().st_size for log in self._logs.glob("worker-*.log")}
        self._told: set[int] = set()
        with self._blamed("submit"):
            self._name = launcher.submit(spec, workers, key)

    def is_over(self) -> bool:
        """Whether none of them runs, or will."""
        return not self._left()

    def look(self) -> None:
        """Warns of workers that are not started again, once of each, while others go on."""
        statuses = self._poll()
        new = [s.index for s in statuses if s.state == WorkerState.FAILED and s.index not in self._told]
        left = sum(status.state not in ENDED for status in statuses)
        self._told.update(new)
        for index in new if left else ():
            log = self._logs / f"worker-{index}.log"
            said = self._last_error([log]) if log.exists() else ""
            warnings.warn(f"worker {index} is given up, {left} of {len(statuses)} go on{said}", stacklevel=2)

    def dismiss(self) -> None:
        """Ends those that there still are; the launcher kills those that do not end within their grace time.

        A launcher that fails meanwhile is asked again; who is left in the end is warned about, not waited for.
        """
        if self._over:
            return
        try:
            self._end(self._grace + AT_ONCE, EVERY)
        except KeyboardInterrupt:  # a second signal: at once
            self._end(AT_ONCE, EVERY / 5)
            raise

    def last_error(self) -> str:
        """What they said last of an error, to be put behind other words."""
        return self._last_error(self._logs.glob("worker-*.log"))

    def _end(self, seconds: float, every: float) -> None:
        """Asks them to end, before anything else is asked, and waits a while until they have."""
        until, asked, left = time.monotonic() + seconds, False, "the workers"
        while True:
            problems = []
            try:
                if not asked:
                    with self._blamed("cancel"):
                        self._launcher.cancel(self._name)
                    asked = True
            except AutotuneError as error:
                problems.append(error.message)
            try:
                if not (running := self._left()):
                    return
                left = "workers " + ", ".join(map(str, running))
            except AutotuneError as error:
                problems.append(error.message)
            if time.monotonic() >= until:
                break
            time.sleep(every)
        said = "".join(f"; {problem}" for problem in problems)
        warnings.warn(
            f"{left} of group {self._name} have not ended {seconds:g} s after they were to{said}; "
            f"end them by the means of {self._called}",
            stacklevel=3,
        )

    def _left(self) -> list[int]:
        """The workers that run, or will."""
        left = [status.index for status in self._poll() if status.state not in ENDED]
        self._over = not left
        return left

    def _poll(self) -> Sequence[WorkerStatus]:
        with self._blamed("poll"):
            return tuple(self._launcher.poll(self._name))

    @contextmanager
    def _blamed(self, method: str) -> Iterator[None]:
        """Says of an error that it is the launcher's: an OSError would pass for a full disk."""
        try:
            yield
        except AutotuneError:
            raise
        except Exception as error:
            raise PluginError(
                f"{self._called}: {method} raised {type(error).__name__}: {error}",
                hint="the same command goes on; what the launcher has started may still run",
            ) from error

    def _last_error(self, logs: Iterable[Path]) -> str:
        """What the newest log says last of an error; what earlier groups wrote into it is passed over."""
        for log in sorted(logs, key=lambda path: path.stat().st_mtime, reverse=True):
            lines = log.read_bytes()[self._sizes.get(log, 0) :].decode(errors="replace").splitlines()
            if found := [line for line in lines if line.startswith("error: ") or "Error: " in line]:
                return f"; {log.stem} says: {found[-1].removeprefix('error: ')}"
        return ""
