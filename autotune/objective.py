"""What a study optimises. Every comparison of scores lives here.

Scores are kept in the metric's own direction; nothing outside this module negates one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from autotune.errors import UsageError

Direction: TypeAlias = Literal["maximize", "minimize"]
T = TypeVar("T")

DIRECTIONS: Mapping[str, Direction] = {
    "accuracy": "maximize",
    "balanced_accuracy": "maximize",
    "macro_f1": "maximize",
    "log_loss": "minimize",
    "auroc": "maximize",
    "cohen_kappa": "maximize",
}


def plain_metric(metric: str) -> str:
    """The metric's own name, without the task that it is of: ``accuracy`` for ``pets/accuracy``."""
    return metric.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Goal:
    """One metric and the direction in which it is better."""

    metric: str
    direction: Direction

    @classmethod
    def of(cls, metric: str, direction: Direction | None = None) -> Goal:
        """The goal for a metric; unknown metrics need their direction said (``metric:minimize``).

        A metric of one task, ``pets/accuracy``, has the direction of the plain one.
        """
        name, _, said = metric.partition(":")
        direction = direction or DIRECTIONS.get(plain_metric(name))
        if said in ("maximize", "minimize"):
            direction = said  # type: ignore[assignment]
        elif said:
            raise UsageError(f"metric {metric!r}: {said!r} is no direction", hint="write maximize or minimize")
        if direction is None:
            raise UsageError(
                f"metric {name!r} is not one of {', '.join(DIRECTIONS)}",
                hint=f"a trainer's own metric needs its direction: metric='{name}:maximize'",
            )
        return cls(name, direction)

    def better(self, a: float, b: float) -> bool:
        """Whether score `a` is strictly better than `b`; nan is worse than any number."""
        if math.isnan(a) or math.isnan(b):
            return not math.isnan(a)
        return a > b if self.direction == "maximize" else a < b

    def best(self, scores: Iterable[float]) -> float:
        """The best of several scores.

        Raises:
            ValueError: There is none.
        """
        pool = [s for s in scores if not math.isnan(s)]
        return max(pool) if self.direction == "maximize" else min(pool)

    def rank(self, score: float, others: Sequence[float]) -> int:
        """How many of the others are strictly better (0: none)."""
        return sum(self.better(o, score) for o in others)


@dataclass(frozen=True, slots=True)
class Limit:
    """A metric that must not exceed a maximum; a trial beyond it cannot be the best."""

    metric: str
    maximum: float


@dataclass(frozen=True, slots=True)
class Objective:
    """Goals in order of importance, and limits. The first goal decides where one answer is needed."""

    goals: tuple[Goal, ...]
    limits: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        if not self.goals:
            raise UsageError("a study needs at least one metric")

    @property
    def main(self) -> Goal:
        """The goal that ranks trials."""
        return self.goals[0]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that a trainer must report."""
        return tuple(dict.fromkeys([g.metric for g in self.goals] + [limit.metric for limit in self.limits]))

    def values(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """The goals' scores, in order."""
        return tuple(float(metrics[g.metric]) for g in self.goals)

    def excess(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """By how much each limit is exceeded (not positive: it holds)."""
        return tuple(float(metrics[limit.metric]) - limit.maximum for limit in self.limits)

    def feasible(self, metrics: Mapping[str, float]) -> bool:
        """Whether every limit holds."""
        return not self.limits or all(e <= 0 for e in self.excess(metrics))

    def better(self, a: Mapping[str, float], b: Mapping[str, float]) -> bool:
        """Whether metrics `a` beat `b`: first by feasibility, then by the main goal."""
        if self.feasible(a) != self.feasible(b):
            return self.feasible(a)
        return self.main.better(a[self.main.metric], b[self.main.metric])

    def ranked(self, pairs: Iterable[tuple[T, Mapping[str, float]]]) -> list[T]:
        """Things by their metrics, the best first, equals in the order in which they came."""
        return [thing for thing, _ in sorted(pairs, key=lambda pair: self.place(pair[1]))]

    def place(self, metrics: Mapping[str, float]) -> tuple[bool, bool, float]:
        """A key by which metrics sort as `better` compares them, the best first."""
        score = float(metrics[self.main.metric])
        infeasible = not self.feasible(metrics)
        if math.isnan(score):
            return infeasible, True, 0.0
        return infeasible, False, -score if self.main.direction == "maximize" else score

    def dominates(self, a: Mapping[str, float], b: Mapping[str, float]) -> bool:
        """Whether metrics `a` are worse than `b` in no goal and better in at least one."""
        pairs = [(goal, float(a[goal.metric]), float(b[goal.metric])) for goal in self.goals]
        return any(g.better(x, y) for g, x, y in pairs) and not any(g.better(y, x) for g, x, y in pairs)

    def best(self, pairs: Iterable[tuple[T, Mapping[str, float]]]) -> T | None:
        """The thing whose metrics are best; the first of equals; None where there is none."""
        winner = min(pairs, key=lambda pair: self.place(pair[1]), default=None)
        return winner[0] if winner else None
