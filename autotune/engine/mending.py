"""What a damaged journal has lost of trials, taken from their folders."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune.engine.attempt import merge, read_attempts, trial_folder
from autotune.engine.checkpoints import best_point
from autotune.engine.context import COPY_OF
from autotune.engine.failures import read_failure
from autotune.engine.fragments import Replay
from autotune.engine.recipes import TrialPlan
from autotune.engine.storage import FINAL, MEMBERS, SCREEN, SEARCH
from autotune.errors import StudyError
from autotune.objective import Objective
from autotune.study import SECONDS, Point

_LOST_REASON = "ended early; why is lost with a part of the journal"
_ENDS = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(kw_only=True)
class Mended:
    """Trials as far as they could be made whole.

    Attributes:
        trials: Of each trial the number of its Optuna study, and what it is, in the order of the journal.
        restored: A line on each trial of which something was taken from its folder.
        lost: A line on each thing that is gone.
    """

    trials: list[tuple[int, FrozenTrial]]
    restored: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Home:
    """What a trial's folder says.

    Attributes:
        plan: What the trial is.
        curve: Its epochs.
        end: How its last attempt ended, or None.
        state: Of a trial that has ended, how.
    """

    plan: TrialPlan
    curve: Sequence[Point]
    end: str | None
    state: TrialState | None


@dataclass(kw_only=True)
class _Bench:
    """What the work needs.

    Attributes:
        names: Names of Optuna's studies in the order of their numbers.
        objective: What the study optimises.
        distributions: Ranges of hyperparameters that whole trials still have.
        restored: See `Mended`.
        lost: See `Mended`.
    """

    names: list[str]
    objective: Objective
    distributions: Mapping[str, BaseDistribution]
    restored: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def mend(folder: Path, found: Replay, names: list[str], objective: Objective) -> Mended:
    """Completes the trials of a journal by what their folders say.

    Args:
        folder: The study's folder.
        found: What is whole of the journal.
        names: Names of Optuna's studies in the order of their numbers.
        objective: What the study optimises.
    """
    known: dict[str, BaseDistribution] = {}
    for _, trial in found.trials:
        known.update(trial.distributions)
    bench = _Bench(names=names, objective=objective, distributions=known)
    homes = _homes(folder, bench)
    trials = [(study, copy.copy(trial)) for study, trial in found.trials]
    places = {t.user_attrs["number"]: i for i, (_, t) in enumerate(trials) if "number" in t.user_attrs}
    for number, home in homes.items():
        place = places.get(number)
        if place is None:
            place = _nameless(trials, found.hollow, home, bench)
        if place is None:
            place = len(trials)
            trials.append((names.index(_stage(home.plan)), create_trial(state=TrialState.RUNNING)))
        study = names.index(_stage(home.plan)) if place in found.hollow else trials[place][0]
        trials[place] = study, _completed(trials[place][1], home, homes, bench)
    for place in sorted(found.hollow):
        study, trial = trials[place]
        if "number" not in trial.user_attrs or trial.user_attrs["number"] not in homes:
            bench.lost.append(f"a trial of {names[study]} that was Optuna's trial {place}: it left no folder")
            trials[place] = study, create_trial(state=TrialState.FAIL, user_attrs={COPY_OF: None})
    return Mended(trials=trials, restored=tuple(bench.restored), lost=tuple(bench.lost))


def _homes(folder: Path, bench: _Bench) -> dict[int, _Home]:
    """What the folders of trials say, by number; a damaged one is lost."""
    found: dict[int, _Home] = {}
    root = folder / "trials"
    for number in sorted(int(p.name) for p in root.iterdir() if p.name.isdecimal()) if root.is_dir() else ():
        home = trial_folder(folder, number)
        try:
            plan = TrialPlan.read(home)
            parts = read_attempts(home, folder)
            failure = read_failure(home)
        except StudyError as error:
            bench.lost.append(f"trial {number}: {error.message}")
            continue
        if plan is None:
            continue  # a number that was taken, and no more
        end = parts[-1].end if parts else None
        state = _ENDS.get(end or "")
        if state == TrialState.FAIL and failure is None:
            state = None
        found[number] = _Home(plan=plan, curve=merge(parts), end=end, state=state)
    return found


def _stage(plan: TrialPlan) -> str:
    """The name of the Optuna study that a trial belongs to."""
    follows = plan.batch is not None and plan.batch != plan.trial
    return {"screen": SCREEN, "final": FINAL}.get(plan.stage, MEMBERS if follows else SEARCH)


def _nameless(trials: Sequence[tuple[int, FrozenTrial]], hollow: set[int], home: _Home, bench: _Bench) -> int | None:
    """The place of a trial that has lost its number, and may be that of a folder."""
    stage, candidates = _stage(home.plan), []
    for place, (study, trial) in enumerate(trials):
        attributes, named = trial.user_attrs, bench.names[study] == stage
        if "number" in attributes or COPY_OF in attributes or trial.state == TrialState.WAITING:
            continue
        if place in hollow:
            candidates.append((2, place))
        elif named and trial.params and all(home.plan.sampled.get(n) == v for n, v in trial.params.items()):
            candidates.append((0, place))
        elif named and not trial.params and stage in (SCREEN, FINAL):
            candidates.append((1, place))
    return min(candidates)[1] if candidates else None


def _completed(trial: FrozenTrial, home: _Home, homes: Mapping[int, _Home], bench: _Bench) -> FrozenTrial:
    """A trial with what its folder adds."""
    plan, trial, added = home.plan, copy.copy(trial), []
    attributes = _attributes(home, homes)
    if missing := {key: value for key, value in attributes.items() if key not in trial.user_attrs}:
        trial.user_attrs = {**trial.user_attrs, **missing}
        added.append("its number" if "number" in missing else "what it belongs to")
    if _stage(plan) in (SEARCH, MEMBERS):
        known = {n: v for n, v in plan.sampled.items() if n not in trial.params and _holds(bench, n, v)}
        if known:
            trial.params = {**trial.params, **known}
            trial.distributions = {**trial.distributions, **{n: bench.distributions[n] for n in known}}
            added.append("its hyperparameters")
        if gone := sorted(set(plan.sampled) - set(trial.params)):
            bench.lost.append(f"trial {plan.trial}: the range of {', '.join(gone)}, which no whole line tells")
    if not trial.state.is_finished() and home.state is not None:
        ended = _ended(trial, home, bench.objective)
        if ended is not None:
            trial = ended
            added.append(f"its end ({home.end})")
    if added:
        bench.restored.append(f"trial {plan.trial}: {', '.join(added)}")
    return trial


def _attributes(home: _Home, homes: Mapping[int, _Home]) -> dict[str, Any]:
    plan, stage = home.plan, _stage(home.plan)
    if stage == MEMBERS:
        batch = sorted(n for n, h in homes.items() if h.plan.batch == plan.batch and n != plan.batch)
        return {"number": plan.trial, "batch": plan.batch, "place": batch.index(plan.trial)}
    if stage == SCREEN:
        return {"number": plan.trial, "backbone": plan.sampled.get("backbone")}
    return {"number": plan.trial}


def _holds(bench: _Bench, name: str, value: Any) -> bool:
    """Whether a hyperparameter's range is known and holds a value."""
    try:
        known = bench.distributions[name]
        return known._contains(known.to_internal_repr(value))
    except (KeyError, ValueError):
        return False


def _ended(trial: FrozenTrial, home: _Home, objective: Objective) -> FrozenTrial | None:
    """A trial with the end that its folder tells; None where it does not tell enough, so that it goes on instead."""
    trial, now = copy.copy(trial), datetime.datetime.now()
    point = best_point(home.curve, objective) if home.plan.stage != "screen" else None
    if home.state == TrialState.COMPLETE:
        if home.plan.stage == "screen":
            scores = [s for name, s in home.curve[-1].metrics.items() if name != SECONDS] if home.curve else []
            if not scores:
                return None
            trial.values = [sum(scores) / len(scores)]
        elif point is None:
            return None
        else:
            trial.values = list(objective.values(point.metrics))
            limits = zip(objective.limits, objective.excess(point.metrics), strict=True)
            whole = create_trial(values=trial.values, constraints={limit.metric: over for limit, over in limits})
            trial.system_attrs = {**whole.system_attrs, **trial.system_attrs}
    elif home.state == TrialState.PRUNED:
        trial.user_attrs = {"reason": _LOST_REASON, **trial.user_attrs}
        if len(objective.goals) == 1 and home.plan.stage == "search":
            told = {int(p.at): objective.values(p.metrics)[0] for p in home.curve if p.metrics and p.at == int(p.at)}
            trial.intermediate_values = {**told, **trial.intermediate_values}
            trial.values = [told[max(told)]] if told else None
    trial.state = home.state or trial.state
    trial.datetime_start = trial.datetime_start or now
    trial.datetime_complete = now
    return trial
