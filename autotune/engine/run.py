"""What a trainer holds in its hands during one attempt: the host's side of `autotune.Run`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.backbone import Backbone
from autotune.checkpoint import Checkpoint, HeldCheckpoint, write_checkpoint
from autotune.engine import attempt, outage
from autotune.engine.checkpoints import saved
from autotune.engine.leases import Counter
from autotune.engine.lines import settle
from autotune.engine.watch import Watch
from autotune.errors import StudyError, TrialFailure
from autotune.specs import AugmentationSpec
from autotune.trainer import Run, StopReason, World


class CannotSaveError(StudyError):
    """What a trainer keeps cannot be written: not its fault, and no reason to fail the trial."""


@dataclass(kw_only=True)
class AttemptRun(Run):
    """One attempt at a trial.

    Attributes:
        folder: The attempt's folder.
        added: Facts that are added to every checkpoint.
        watch: Its time; the runs of a batch have one together.
        batched: Whether it is trained in a batch, so that it may fail alone.
        over: Whether it has ended while others of its batch go on.
        failed: What the trainer said of its failure, or None.
        spent: Seconds of its epochs.
        settled: The checkpoint that the disk is known to have; it is not waited for every time.
        unsaved: Epochs since the last checkpoint whose own could not be written.
    """

    trial: int
    seed: int
    device: str
    epochs: int
    deadline: float | None
    cache: Path
    cache_limit: int | None
    backbone: Backbone | None
    augmentations: Mapping[str, AugmentationSpec]
    folder: Path
    added: Mapping[str, Any]
    watch: Watch
    batched: bool = False
    resume: Checkpoint | None = None
    world: World = field(default_factory=World)
    over: bool = False
    failed: TrialFailure | None = None
    spent: float = 0.0
    settled: set[str] = field(default_factory=set)
    unsaved: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.at = 0.0 if self.resume is None else float(self.resume.facts.get("epochs_done", 0.0))
        self._counter = Counter(self.folder)

    def save(self, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> Checkpoint:
        """See `autotune.Run.save`. The epochs done are the facts' ``at``, or else one more than last yielded.

        While the disk is full, or the folder read-only, the training goes on without: what is returned lies in memory
        only, and its epoch has no checkpoint.
        """
        done = float(facts.get("at", self.at + 1))
        path = self.folder / f"checkpoint-{done:g}.safetensors"
        again = 1
        while path.exists():
            again += 1
            path = self.folder / f"checkpoint-{done:g}-{again}.safetensors"
        facts = {**facts, **self.added, "epochs_done": done}
        try:
            checkpoint = write_checkpoint(path, tensors, facts, durable=False)
        except OSError as error:
            if not outage.passes(error):
                raise CannotSaveError(
                    f"{path}: cannot be written ({error.strerror})",
                    hint="make room, then run the same command again; the trial goes on from its last checkpoint",
                ) from error
            self.unsaved.append(done)
            what = f"{path}: the checkpoint cannot be written"
            outage.warn_once(self.folder, error, what, "the training goes on, and the best that was saved is kept")
            return HeldCheckpoint(path=path, facts=facts, backbone=self.backbone, held=tensors)
        if self.unsaved:
            outage.over(self.folder)
            self.note(f"without a checkpoint, for it could not be written: epochs {self.unsaved[0]:g} to {self.at:g}")
            self.unsaved.clear()
        return Checkpoint(path=path, facts=checkpoint.facts, backbone=self.backbone)

    def settle(self, *, all_of_them: bool = False) -> None:
        """Waits until the newest checkpoint, or all that there still are, and the curve are on the disk."""
        newest = saved(self.folder)[0 if all_of_them else -1 :]
        settle([*newest, *(path.with_suffix(".json") for path in newest), self.folder / attempt.EPOCHS])
        self.settled = {path.name for path in newest}

    def stop(self) -> StopReason | None:
        """See `autotune.Run.stop`."""
        return "prune" if self.over else self.watch.answer(self.trial)

    def note(self, text: str) -> None:
        """See `autotune.Run.note`."""
        try:
            attempt.add_note(self.folder, str(text))
        except StudyError as error:
            raise CannotSaveError(error.message, hint=error.hint) from error

    def fail(self, error: TrialFailure) -> None:
        """See `autotune.Run.fail`."""
        if not self.batched:
            raise error
        if not isinstance(error, TrialFailure):
            raise TypeError(f"Run.fail takes an autotune.TrialFailure, not {error!r}")
        self.failed, self.over = error, True

    def received(self, at: float) -> float:
        """Told which epoch has arrived; returns its seconds, of a batch's a share."""
        self.at = at
        self.spent += self.watch.share
        return self.watch.share

    @property
    def elapsed(self) -> float:
        """Seconds since the attempt began, of a batch's a share."""
        return self.spent if self.over else self.spent + self.watch.open_share

    def beat(self) -> None:
        """Raises the counter that says that this attempt's worker is alive.

        Raises:
            StudyError: The folder cannot be written.
        """
        self._counter.beat()
