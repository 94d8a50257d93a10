"""Asking the host whether to stop, and remembering its answer."""

from __future__ import annotations

from autotune import Run, StopReason


class Asking:
    """Called once a batch: True while training may go on.

    Attributes:
        reason: Why it may not, once the host has said so.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.reason: StopReason | None = None

    def __call__(self) -> bool:
        """Asks the host."""
        if self.reason is None:
            self.reason = self._run.stop()
        return self.reason is None
