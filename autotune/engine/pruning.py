"""Pruning: which trials end early because they cannot win.

Ours and not Optuna's, so that it also works with several goals and with limits.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autotune.errors import UnknownName
from autotune.objective import Objective
from autotune.study import SLACK, Study, Trial

WARMUP = "warmup_epochs"
"""The field of a recipe that says for how long its rates rise."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A trial ends early.

    Attributes:
        reason: One sentence for a person.
    """

    reason: str


class Pruner(ABC):
    """Decides after every epoch whether a trial goes on."""

    @abstractmethod
    def decide(self, trial: Trial, study: Study) -> Stop | None:
        """Whether to stop a running trial whose curve ends with a new epoch; None lets it go on."""

    def decide_many(self, trials: Sequence[Trial], study: Study) -> Mapping[int, Stop]:
        """Which trials of a batch to stop, by number, once all of them have a new epoch."""
        return {trial.number: stop for trial in trials if (stop := self.decide(trial, study)) is not None}


class NoPruner(Pruner):
    """Lets every trial run to its end."""

    def decide(self, trial: Trial, study: Study) -> Stop | None:
        """Always goes on."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessiveHalving(Pruner):
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934) that checks its own assumption.

    At the rungs (epochs 3, 6, 12, ...) a trial goes on if it is in the better half of all trials that reached the rung.
    While a trial's rates rise its scores say little, so that its rungs begin after twice its warm-up where that is
    later. Fewer than four others decide nothing, and the first trial is never stopped. One loser in eight goes on as an
    audit. Where scores at the first rung hardly agree with those at the end, nothing is stopped.
    Trials of a batch must be in the better half of their batch as well; to others, only the best of a batch counts.

    Attributes:
        first: The first rung, in epochs, of trials with a short warm-up.
        warmups: The earliest first rung, in lengths of the warm-up.
        fewest: Other trials at a rung, a batch counting as one, that it takes to judge one.
        reduction: One in this many goes on, and rungs grow by this factor.
        audit: One loser in this many goes on.
        agreement: Kendall's tau-b below which the rule is switched off.
        enough: Finished trials from which on the agreement counts.
        recent: Finished trials, the newest, that it is measured on.
        scores: What trials had scored at the rungs, looked up once.
    """

    first: int = 3
    warmups: float = 2.0
    fewest: int = 4
    reduction: int = 2
    audit: int = 8
    agreement: float = 0.5
    enough: int = 5
    recent: int = 50
    scores: _Scores = field(default_factory=lambda: _Scores(), repr=False, compare=False)

    def decide(self, trial: Trial, study: Study) -> Stop | None:
        """See `Pruner.decide`."""
        return self.decide_many([trial], study).get(trial.number)

    def decide_many(self, trials: Sequence[Trial], study: Study) -> Mapping[int, Stop]:
        """See `Pruner.decide_many`."""
        fields: dict[float, _Field] = {}
        stops: dict[int, Stop] = {}
        for trial in trials:
            rung = self._rung(trial)
            if rung is None or trial.stage != "search":
                continue
            if rung not in fields:
                fields[rung] = _Field.at(rung, study, self.scores)
            if reason := self._loses(trial, rung, fields[rung], study.objective):
                stops[trial.number] = Stop(reason)
        return stops if stops and self.trusted(study) else {}

    def _loses(self, trial: Trial, rung: int, field: _Field, objective: Objective) -> str | None:
        """Why a trial is stopped at a rung, or None."""
        mine = self.scores.at(trial, rung, objective)
        if mine is None or trial.number <= field.first or self._audits(trial):
            return None
        metric = objective.main.metric
        share = "half goes" if self.reduction == 2 else f"one in {self.reduction} goes"
        for others, where, fewest in (
            (field.siblings(trial), " in its batch", 1),
            (field.others(trial), "", self.fewest),
        ):
            rank, among = 1 + others.beating(mine), len(others) + 1
            if len(others) >= fewest and rank > max(1, among // self.reduction):
                score = f"{metric} {mine[metric]:.4g}"
                return f"at epoch {rung} its {score} ranks {rank} of {among}{where}; the best {share} on"
        return None

    def trusted(self, study: Study) -> bool:
        """Whether scores at the first rung rank finished trials much as their final scores do.

        Of a batch its leader counts: many alike would say little about others.
        """
        objective = study.objective
        finished = [
            t
            for t in study.trials
            if t.stage == "search" and t.state == "complete" and t.value is not None and not t.follows
        ]
        first = max(map(self._first, finished), default=self.first)  # scores compare at equal epochs
        early, late = [], []
        for trial in finished:
            score = self.scores.at(trial, first, objective)
            if score is not None and trial.value is not None and trial.curve[-1].at > first + SLACK:
                early.append(score[objective.main.metric])
                late.append(trial.value)
        if len(early) < self.enough:
            return True
        return agreement(early[-self.recent :], late[-self.recent :]) >= self.agreement

    def _rung(self, trial: Trial) -> int | None:
        """The highest rung that the newest epoch has reached and the one before had not."""
        if not trial.curve:
            return None
        now = trial.curve[-1].at + SLACK
        before = trial.curve[-2].at + SLACK if len(trial.curve) > 1 else 0.0
        rung, reached = self._first(trial), None
        while rung <= now:
            if rung > before:
                reached = rung
            rung *= self.reduction
        return reached

    def _first(self, trial: Trial) -> int:
        """The first rung of a trial."""
        warmup = trial.recipe.get(WARMUP, 0)
        return max(self.first, math.ceil(self.warmups * warmup)) if isinstance(warmup, (int, float)) else self.first

    def _audits(self, trial: Trial) -> bool:
        digest = hashlib.sha256(f"audit {trial.seed} {trial.number}".encode()).digest()
        return digest[0] % self.audit == 0


class _Scores:
    """Scores at rungs; those of a trial that has not changed are not looked up again."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, float], tuple[Trial, Mapping[str, float] | None]] = {}

    def at(self, trial: Trial, rung: float, objective: Objective) -> Mapping[str, float] | None:
        """See `score_at`."""
        known = self._found.get((trial.number, rung))
        if known is None or known[0] is not trial:
            known = self._found[trial.number, rung] = trial, score_at(trial, rung, objective)
        return known[1]


class _Others:
    """The scores that a trial is compared with.

    Args:
        scores: Those of all, its own perhaps among them.
        objective: Compares them.
        own: Whether its own are among them.
    """

    def __init__(self, scores: Sequence[Mapping[str, float]], objective: Objective, *, own: bool) -> None:
        self._scores, self._objective, self._own = scores, objective, own
        single = len(objective.goals) == 1
        self._places = sorted(objective.place(s) for s in scores) if single else None

    def __len__(self) -> int:
        return len(self._scores) - self._own

    def beating(self, mine: Mapping[str, float]) -> int:
        """How many beat a trial's scores; its own do not."""
        if self._places is not None:
            return bisect_left(self._places, self._objective.place(mine))
        return sum(_beats(scores, mine, self._objective) for scores in self._scores)


class _Field:
    """The trials that reached a rung, with their best scores up to it.

    Args:
        first: The number of the first trial of the search that has not failed.
        single: Scores of trials by themselves, by number.
        batches: Scores in batches, by the leader's number and their own.
        objective: Compares scores.
    """

    def __init__(
        self,
        first: int,
        single: Mapping[int, Mapping[str, float]],
        batches: Mapping[int, Mapping[int, Mapping[str, float]]],
        objective: Objective,
    ) -> None:
        self.first = first
        self._single, self._batches, self._objective = single, batches, objective
        found = {leader: objective.best((s, s) for s in batch.values()) for leader, batch in batches.items()}
        self._best = {leader: scores for leader, scores in found.items() if scores is not None}
        self._siblings: dict[tuple[int | None, bool], _Others] = {}
        self._outside: dict[tuple[int | None, bool], _Others] = {}

    @classmethod
    def at(cls, rung: float, study: Study, scores: _Scores) -> _Field:
        """The trials of a study that reached a rung."""
        single: dict[int, Mapping[str, float]] = {}
        batches: dict[int, dict[int, Mapping[str, float]]] = {}
        peers = [t for t in study.trials if t.stage == "search" and t.state != "failed"]
        for trial in peers:
            if (score := scores.at(trial, rung, study.objective)) is not None:
                place = single if trial.batch is None else batches.setdefault(trial.batch, {})
                place[trial.number] = score
        return cls(min((t.number for t in peers), default=-1), single, batches, study.objective)

    def siblings(self, trial: Trial) -> _Others:
        """Scores of the other trials of its batch; none for a trial by itself."""
        batch = {} if trial.batch is None else self._batches.get(trial.batch, {})
        key = (trial.batch, trial.number in batch)
        if key not in self._siblings:
            self._siblings[key] = _Others(list(batch.values()), self._objective, own=key[1])
        return self._siblings[key]

    def others(self, trial: Trial) -> _Others:
        """Scores of trials outside its batch; the best one of every batch."""
        key = (trial.batch, trial.number in self._single)
        if key not in self._outside:
            scores = [*self._single.values(), *(s for leader, s in self._best.items() if leader != trial.batch)]
            self._outside[key] = _Others(scores, self._objective, own=key[1])
        return self._outside[key]


def make_pruner(name: str) -> Pruner:
    """The pruner of a name, ``halving`` or ``none``.

    Raises:
        UnknownName: There is none.
    """
    known: Mapping[str, type[Pruner]] = {"halving": SuccessiveHalving, "none": NoPruner}
    if name not in known:
        raise UnknownName("pruner", name, known)
    return known[name]()


def score_at(trial: Trial, rung: float, objective: Objective) -> Mapping[str, float] | None:
    """A trial's best scores up to a rung, or to its own end; None if it is still on its way there, or was stopped."""
    if not trial.curve or (trial.state != "complete" and trial.curve[-1].at + SLACK < rung):
        return None
    return objective.best((p.metrics, p.metrics) for p in trial.curve if p.at <= rung + SLACK and p.metrics)


def agreement(early: Sequence[float], late: Sequence[float]) -> float:
    """Kendall's tau-b between two rankings of the same trials: 1 agrees, 0 is unrelated (0 if all are equal)."""
    from scipy.stats import kendalltau  # slow to import, and needed by long studies only

    tau = float(kendalltau(early, late).statistic)
    return 0.0 if math.isnan(tau) else tau


def _beats(a: Mapping[str, float], b: Mapping[str, float], objective: Objective) -> bool:
    """Whether scores beat others: by the one goal, or, of several goals, in none worse and in one better."""
    if len(objective.goals) == 1 or objective.feasible(a) != objective.feasible(b):
        return objective.better(a, b)
    return objective.dominates(a, b)
