"""Who may be the best: the leading trials, each with the best of its checkpoints that still exist."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autotune.study import Point, Study, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalist:
    """A trial that may be handed back, as it was at one epoch.

    Attributes:
        trial: The trial.
        point: The epoch.
        checkpoint: Its checkpoint, which exists.
    """

    trial: Trial
    point: Point
    checkpoint: Path

    @property
    def mark(self) -> str:
        """Identifies trial and epoch, to see whether a later call would choose among the same."""
        return f"{self.trial.number}@{self.point.at:g}:{self.point.checkpoint}"


def finalists(study: Study, most: int = 3) -> tuple[Finalist, ...]:
    """The leading trials by their validation scores, best first; failed trials are none."""
    entries = [f for t in study.trials if t.value is not None and (f := _finalist(study, t)) is not None]
    return tuple(study.objective.ranked((entry, entry.point.metrics) for entry in entries)[:most])


def _finalist(study: Study, trial: Trial) -> Finalist | None:
    usable = [
        (point, study.path / point.checkpoint)
        for point in trial.curve
        if point.checkpoint is not None
        and set(study.objective.metrics) <= point.metrics.keys()
        and (study.path / point.checkpoint).is_file()
    ]
    best = study.objective.best((pair, pair[0].metrics) for pair in usable)
    return None if best is None else Finalist(trial=trial, point=best[0], checkpoint=best[1])
