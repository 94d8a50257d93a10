"""Frozen snapshots of a study: what happened, free of the search library's types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from autotune.errors import StudyError
from autotune.objective import Objective
from autotune.trainer import Screening

if TYPE_CHECKING:
    from autotune.model import Model

Stage: TypeAlias = Literal["screen", "search", "final"]
State: TypeAlias = Literal["complete", "pruned", "failed", "running"]
FailureKind: TypeAlias = Literal["oom", "diverged", "data", "plugin", "lost", "timeout"]

SECONDS = "seconds_per_image"
"""What a screening's curve calls the time of one image; its other metrics are scores."""
SLACK = 1e-6
"""Epochs that are no farther apart are the same: fractions of an epoch are added up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a trial failed.

    Attributes:
        kind: One of six names.
        reason: One sentence for a person.
        traceback: The trainer's traceback, where one exists.
    """

    kind: FailureKind
    reason: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One epoch of a trial's curve.

    Attributes:
        at: Epochs done.
        metrics: Validation scores.
        images: Training images seen since the previous point; of a screening, the images that were scored.
        seconds: Wall time of the epoch; in a batch, its share.
        checkpoint: Path of its checkpoint, relative to the study's folder; None once it was thinned out.
    """

    at: float
    metrics: Mapping[str, float]
    images: int
    seconds: float
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One recipe and what became of it.

    Attributes:
        number: Our own id; the folder ``trials/00012`` bears it.
        state: ``running`` includes a trial that waits to be resumed.
        stage: Only ``search`` counts towards ``--trials`` and feeds the sampler. A trial of ``screen`` trains nothing:
            it looks at a candidate before the search.
        seed: The trial's seed.
        recipe: Every hyperparameter, resolved for the backbone.
        sampled: What the search sampled of it.
        curve: Its epochs, over all attempts.
        value: The main goal's best score on the validation images, or None; a screening is no model and has none.
        metrics: All scores of the epoch with that value; those of a screening.
        failure: Why it failed, if it did.
        reason: Why it ended early, or waits; None for a trial that ran to its end.
        notes: Lines that the trainer kept.
        attempts: How often it was started.
        seconds: Wall time over all attempts; in a batch, its share.
        parent: The trial that it continues, if any.
        batch: The trial that leads the batch in which it was trained together with others, perhaps itself; None for a
            trial by itself. A batch counts as one towards ``--trials``.
    """

    number: int
    state: State
    stage: Stage = "search"
    seed: int = 0
    recipe: Mapping[str, Any] = field(default_factory=dict)
    sampled: Mapping[str, Any] = field(default_factory=dict)
    curve: tuple[Point, ...] = ()
    value: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()
    attempts: int = 1
    seconds: float = 0.0
    parent: int | None = None
    batch: int | None = None

    @property
    def follows(self) -> bool:
        """Whether another trial leads its batch, so that it does not count towards ``--trials``."""
        return self.batch is not None and self.batch != self.number

    @property
    def screening(self) -> Screening | None:
        """What was found of a candidate; None for trials of other stages, and while nothing was."""
        if self.stage != "screen" or self.state != "complete" or not self.curve:
            return None
        last = self.curve[-1]
        scores = {name: score for name, score in last.metrics.items() if name != SECONDS}
        return Screening(images=last.images, seconds=last.metrics[SECONDS], scores=scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The model that the study hands back.

    Attributes:
        trial: The trial that made it.
        at: The epoch it was taken from.
        metrics: Its scores on the validation images: optimistic, for the search has looked at them.
        select: Its scores on the images kept for choosing among finalists, where there are enough.
        path: The folder ``best/``.
        after_training: What was tried on the model after its training, a table of json types for each step: ``step``,
            ``kept``, ``what``, and where it was measured ``metric``, ``before``, ``after``, ``images``, ``side``.
    """

    trial: Trial
    at: float
    metrics: Mapping[str, float]
    select: Mapping[str, float]
    path: Path
    loader: Callable[[Path, str], Model] = field(repr=False, compare=False)
    after_training: tuple[Mapping[str, Any], ...] = ()

    def load(self, device: str = "cpu") -> Model:
        """Loads the model.

        Raises:
            CheckpointError: The file is gone, cut short or altered.
        """
        return self.loader(self.path, device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study as it stands.

    Attributes:
        name: The study's name.
        path: Its folder.
        state: ``done`` when its totals are reached, else ``open``.
        objective: What it optimises.
        trials: Every trial, by number.
        best: The best model, or None while there is none.
        config: study.toml as plain values.
        spent: Seconds of active wall time over all calls.
        time: The total in seconds, or None.
        wanted: The total number of trials, or None.
    """

    name: str
    path: Path
    state: Literal["open", "done"]
    objective: Objective
    trials: tuple[Trial, ...]
    best: Best | None
    config: Mapping[str, Any]
    spent: float
    time: float | None = None
    wanted: int | None = None

    def trial(self, number: int) -> Trial:
        """One trial by its number.

        Raises:
            StudyError: There is none.
        """
        for trial in self.trials:
            if trial.number == number:
                return trial
        raise StudyError(f"{self.path}: there is no trial {number}", hint=f"autotune trials {self.path}")

    @property
    def trained(self) -> tuple[Trial, ...]:
        """The trials that train a recipe: all but the screenings."""
        return tuple(trial for trial in self.trials if trial.stage != "screen")

    @property
    def screened(self) -> tuple[Trial, ...]:
        """The trials that look at a candidate before the search."""
        return tuple(trial for trial in self.trials if trial.stage == "screen")

    @property
    def leader(self) -> Trial | None:
        """The trial with the best validation score so far; failed trials have none."""
        return self.objective.best((t, t.metrics) for t in self.trials if t.value is not None)
