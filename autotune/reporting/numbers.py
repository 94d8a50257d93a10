"""Numbers from a study: the ranking, what mattered, what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from autotune.objective import Objective
from autotune.study import Study, Trial

RANGES = 3
"""Numbers are cut into at most so many ranges, where they are not a few values that come again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The scored trials that share a value of one hyperparameter.

    Attributes:
        value: The value, or the range.
        trials: How many trials.
        best: The best score among them.
        middle: Their median score.
    """

    value: str
    trials: int
    best: float
    middle: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """How scores differ along one hyperparameter: an association in few trials, no proof."""

    name: str
    groups: tuple[Group, ...]

    @property
    def spread(self) -> float:
        """Distance between the best and the worst group's median."""
        middles = [g.middle for g in self.groups]
        return max(middles) - min(middles)


def ranking(study: Study) -> tuple[Trial, ...]:
    """The trials with a score, best first, as the study's objective compares them."""
    scored = [t for t in study.trials if t.value is not None and set(study.objective.metrics) <= t.metrics.keys()]
    return tuple(study.objective.ranked((t, t.metrics) for t in scored))


def selected(study: Study, *, state: str | None = None, by_value: bool = False) -> tuple[Trial, ...]:
    """The trials in one state, or all, by number or the best first; those without a score come last."""
    order = ranking(study) if by_value else ()
    placed = {t.number for t in order}
    rest = tuple(t for t in study.trials if t.number not in placed)
    return tuple(t for t in (*order, *rest) if state is None or t.state == state)


def counts(study: Study) -> dict[str, int]:
    """Trials by state, in the order complete, pruned, failed, running; states without trials are left out.

    Screenings are no trainings, and are not counted here.
    """
    states = [t.state for t in study.trained]
    return {s: states.count(s) for s in ("complete", "pruned", "failed", "running") if s in states}


def seconds_by_state(study: Study) -> dict[str, float]:
    """Wall time of trials by state, in seconds; that of screenings is not in it."""
    return {s: sum(t.seconds for t in study.trained if t.state == s) for s in counts(study)}


def epochs(trial: Trial) -> float:
    """Epochs that a trial has done."""
    return max((p.at for p in trial.curve), default=0.0)


def of_tasks(metrics: Mapping[str, float], metric: str) -> tuple[tuple[str, float], ...]:
    """The scores of single tasks, ``task/metric``, of which a metric is the mean; none where there is one task."""
    return tuple((name, value) for name, value in metrics.items() if name.rpartition("/")[1:] == ("/", metric))


def effects(study: Study) -> tuple[Effect, ...]:
    """How the score went along with every hyperparameter that differed between trials, the widest apart first."""
    scored = ranking(study)
    names = dict.fromkeys(name for trial in scored for name in trial.recipe)
    found = [e for name in names if (e := _effect(name, scored, study.objective)) is not None]
    return tuple(sorted(found, key=lambda e: -e.spread))


def _effect(name: str, scored: Sequence[Trial], objective: Objective) -> Effect | None:
    pairs = [(t.recipe[name], t.value) for t in scored if name in t.recipe and t.value is not None]
    values = sorted({v for v, _ in pairs}, key=lambda v: (str(type(v)), v))
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    ranges = min(RANGES, len(pairs) // 2) if numeric and len(values) > max(2, len(pairs) / 2) else 0
    label = _ranges(values, ranges) if ranges else {v: _text(v) for v in values}
    groups: dict[str, list[float]] = {}
    place = {value: number for number, value in enumerate(values)}
    for value, score in sorted(pairs, key=lambda p: place[p[0]]):
        groups.setdefault(label[value], []).append(score)
    if len(groups) < 2:
        return None
    goal = objective.main
    return Effect(
        name=name,
        groups=tuple(
            Group(value=v, trials=len(s), best=goal.best(s), middle=median(s)) for v, s in groups.items()
        ),
    )  # fmt: skip


def _ranges(values: Sequence[float], ranges: int) -> Mapping[Any, str]:
    """Cuts sorted numbers into ranges of about equally many."""
    edges = [math.floor(i * len(values) / ranges) for i in range(ranges + 1)]
    cut = [values[low:high] for low, high in pairwise(edges)]
    return {v: f"{_text(part[0])} .. {_text(part[-1])}" for part in cut for v in part}


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
