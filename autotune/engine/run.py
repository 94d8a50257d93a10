"""What a trainer holds in its hands during one attempt: the host's side of `autotune.Run`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.backbone import Backbone
from autotune.checkpoint import Checkpoint, write_checkpoint
from autotune.engine import attempt
from autotune.engine.signals import Signals
from autotune.errors import StudyError
from autotune.specs import AugmentationSpec
from autotune.trainer import Run, StopReason, World

FIRST_TAIL = 0.1
MARGIN = 1.2


class CannotSaveError(StudyError):
    """A checkpoint cannot be written: not the trainer's fault, and no reason to fail the trial."""


@dataclass(kw_only=True)
class AttemptRun(Run):
    """One attempt at a trial.

    Attributes:
        folder: The attempt's folder.
        added: Facts that are added to every checkpoint.
        signals: Whether somebody asked to stop.
        tail: Seconds to leave for validation and saving at the end of an epoch; learned while running.
        asked: What the trainer was told to do when it asked `stop`, or None.
        batches: How often it asked.
    """

    trial: int
    seed: int
    device: str
    epochs: int
    deadline: float | None
    cache: Path
    backbone: Backbone | None
    augmentations: Mapping[str, AugmentationSpec]
    folder: Path
    added: Mapping[str, Any]
    signals: Signals
    resume: Checkpoint | None = None
    world: World = field(default_factory=World)
    tail: float = 0.0
    asked: StopReason | None = None
    batches: int = 0

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.at = 0.0 if self.resume is None else float(self.resume.facts.get("epochs_done", 0.0))
        self._yielded = self.began
        self._last_stop: float | None = None
        self._gap = 0.0
        self._learned = False
        self._beats = 0

    def save(self, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> Checkpoint:
        """See `autotune.Run.save`. The epochs done are the facts' ``at``, or else one more than last yielded."""
        done = float(facts.get("at", self.at + 1))
        path = self.folder / f"checkpoint-{done:g}.safetensors"
        again = 1
        while path.exists():
            again += 1
            path = self.folder / f"checkpoint-{done:g}-{again}.safetensors"
        try:
            checkpoint = write_checkpoint(path, tensors, {**facts, **self.added, "epochs_done": done})
        except OSError as error:
            raise CannotSaveError(
                f"{path}: cannot be written ({error.strerror})",
                hint="make room, then run the same command again; the trial goes on from its last checkpoint",
            ) from error
        return Checkpoint(path=path, facts=checkpoint.facts, backbone=self.backbone)

    def stop(self) -> StopReason | None:
        """See `autotune.Run.stop`. Looks at a clock and a flag; touches no file."""
        now = time.monotonic()
        if self._last_stop is not None and self._last_stop > self._yielded:
            self._gap = now - self._last_stop
        self._last_stop = now
        self.batches += 1
        if self.asked is None:
            self.asked = self._reason(now)
        return self.asked

    def note(self, text: str) -> None:
        """See `autotune.Run.note`."""
        attempt.add_note(self.folder, str(text))

    def received(self, at: float) -> float:
        """Told when an epoch arrives: learns how long its end took, and returns the seconds since the last one."""
        now = time.monotonic()
        if self._last_stop is not None and self._last_stop > self._yielded:
            self.tail = MARGIN * (now - self._last_stop)
            self._learned = True
        since, self._yielded, self.at = now - self._yielded, now, at
        return since

    @property
    def elapsed(self) -> float:
        """Seconds since the attempt began."""
        return time.monotonic() - self.began

    def beat(self) -> None:
        """Raises the counter that says that this attempt's worker is alive."""
        self._beats += 1
        (self.folder / "alive").write_text(f"{self._beats}\n")

    def pressed(self) -> StopReason | None:
        """What `stop` would answer now, without being asked by the trainer."""
        return self.asked or self._reason(time.monotonic())

    def _reason(self, now: float) -> StopReason | None:
        if self.signals.asked is not None:
            return "pause"
        if self.deadline is None:
            return None
        tail = self.tail if self._learned else max(self.tail, FIRST_TAIL * (now - self._yielded))
        return "deadline" if now + self._gap + tail >= self.deadline else None
