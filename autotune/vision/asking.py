"""Asking the host whether to stop, and remembering its answer."""

from __future__ import annotations

from autotune.trainer import Run, StopReason


class Asking:
    """Called once a batch: True while the work may go on.

    Args:
        run: The host's.

    Attributes:
        reason: Why it may not, once the host has said so; it is not asked again.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.reason: StopReason | None = None

    def __call__(self) -> bool:
        """Asks the host."""
        if self.reason is None:
            self.reason = self._run.stop()
        return self.reason is None
