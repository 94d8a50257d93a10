"""A study's folder, read into frozen records. Reading writes nothing and needs no lock."""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from autotune.config import StudyConfig, read_table
from autotune.engine import attempt
from autotune.engine.checkpoints import best_point
from autotune.engine.clock import read_clock, reserve
from autotune.engine.failures import read_failure
from autotune.engine.recipes import TrialPlan
from autotune.engine.storage import FINAL, MEMBERS, SCREEN, SEARCH, read_journal
from autotune.errors import StudyError
from autotune.identity import FILE, stored_config
from autotune.objective import Goal, Limit, Objective
from autotune.study import Best, Stage, State, Study, Trial

if TYPE_CHECKING:
    from autotune.model import Model

_STATES: Mapping[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
_STAGES: Mapping[str, Stage] = {SEARCH: "search", MEMBERS: "search", FINAL: "final", SCREEN: "screen"}


class Records:
    """Makes records of a study's trials; what has ended is read once.

    Args:
        folder: The study's folder.
        objective: What it optimises.
    """

    def __init__(self, folder: Path, objective: Objective) -> None:
        self.folder = folder
        self.objective = objective
        self._kept: dict[tuple[str, int], Trial] = {}
        self._keys: dict[int, tuple[str, int]] = {}
        self._holding: set[tuple[str, int]] = set()
        self._ordered: list[Trial] = []
        self._over: dict[str, int] = {}
        self._plans: dict[int, TrialPlan] = {}

    def trials(self, found: Iterable[tuple[str, Sequence[FrozenTrial]]]) -> tuple[Trial, ...]:
        """Every trial that has begun, by number.

        Args:
            found: Optuna's trials by stage, of all stages, in Optuna's order.
        """
        self._look_again()
        running = []
        for stage, frozen in found:
            over = self._over.get(stage, 0)  # so many of the first ones have ended and are known
            contiguous = True
            for one in frozen[over:]:
                record = self.trial(stage, one)
                if record is not None and record.state == "running":
                    running.append(record)
                contiguous = contiguous and one.state.is_finished()
                over += contiguous
            self._over[stage] = over
        trials = list(self._ordered)
        for record in running:
            insort(trials, record, key=_number)
        return tuple(trials)

    def trial(self, stage: str, frozen: FrozenTrial) -> Trial | None:
        """One trial; None while it has no number yet."""
        key = (stage, frozen.number)
        if key not in self._kept:
            record = self._read(stage, frozen)
            if record is None or record.state == "running":
                return record
            self._keep(key, record)
        return self._kept[key]

    def forget(self, numbers: Iterable[int]) -> None:
        """Reads some trials again when they are next asked for, e.g. because checkpoints were removed."""
        for number in numbers:
            if (key := self._keys.pop(number, None)) is not None:
                del self._kept[key]
                del self._ordered[self._place(number)]
                self._holding.discard(key)
                self._over[key[0]] = min(key[1], self._over.get(key[0], 0))

    def _keep(self, key: tuple[str, int], record: Trial) -> None:
        if key in self._kept:
            self._ordered[self._place(record.number)] = record
        else:
            insort(self._ordered, record, key=_number)
        self._kept[key] = record
        self._keys[record.number] = key
        if any(point.checkpoint for point in record.curve):
            self._holding.add(key)

    def _place(self, number: int) -> int:
        return bisect_left(self._ordered, number, key=_number)

    def _look_again(self) -> None:
        """Other workers thin out checkpoints too: looks whether those that were there still are."""
        for key in list(self._holding):
            record = self._kept[key]
            curve = attempt.without_lost_checkpoints(record.curve, self.folder)
            if any(now is not before for now, before in zip(curve, record.curve, strict=True)):
                self._holding.discard(key)
                self._keep(key, replace(record, curve=curve))

    def _read(self, stage: str, frozen: FrozenTrial) -> Trial | None:
        number = frozen.user_attrs.get("number")
        if frozen.state not in _STATES or not isinstance(number, int):
            return None
        folder = attempt.trial_folder(self.folder, number)
        plan = self._plans.get(number) or TrialPlan.read(folder)
        if plan is not None:
            self._plans[number] = plan  # it is written once
        parts = attempt.read_attempts(folder, self.folder)
        curve = attempt.without_lost_checkpoints(attempt.merge(parts), self.folder)
        state = _STATES[frozen.state]
        best = None if state == "failed" or stage == SCREEN else best_point(curve, self.objective)
        told = curve[-1] if stage == SCREEN and curve else best
        return Trial(
            number=number,
            state=state,
            stage=_STAGES[stage],
            seed=plan.seed if plan else 0,
            recipe=plan.recipe if plan else {},
            sampled=plan.sampled if plan else dict(frozen.params),
            curve=curve,
            value=None if best is None else best.metrics[self.objective.main.metric],
            metrics={} if told is None else told.metrics,
            failure=read_failure(folder) if state == "failed" else None,
            reason=frozen.user_attrs.get("reason"),
            notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
            attempts=len(parts),
            seconds=sum(part.seconds for part in parts),
            parent=plan.parent if plan else None,
            batch=plan.batch if plan else None,
        )


def _number(trial: Trial) -> int:
    return trial.number


def is_study(folder: Path) -> bool:
    """Whether a folder holds a study."""
    return (folder / FILE).is_file()


def read_study(folder: Path) -> tuple[StudyConfig, dict[str, Any]]:
    """A study's configuration, checked and as plain values.

    Raises:
        StudyError: The folder holds no study, a damaged one, or one of a newer autotune.
    """
    config = stored_config(folder)
    if config is None:
        raise StudyError(f"{folder}: there is no study", hint="autotune search DATA begins one")
    return config, read_table(folder / FILE)


def objective_of(config: StudyConfig) -> Objective:
    """What a configuration optimises."""
    goals = tuple(Goal.of(metric) for metric in config.metric)
    return Objective(goals, tuple(Limit(name, maximum) for name, maximum in config.limits.items()))


def snapshot(folder: Path, loader: Callable[[Path, str], Model]) -> Study:
    """Reads a study as it stands.

    Args:
        folder: The study's folder.
        loader: Loads a model from the folder ``best/`` to a device.

    Raises:
        StudyError: There is no study, or a file of it is damaged.
    """
    config, plain = read_study(folder)
    objective = objective_of(config)
    trials = Records(folder, objective).trials(read_journal(folder))
    clock = read_clock(folder)
    return assemble(folder, config, plain, objective, trials, loader, spent=clock["spent"], ended=clock["ended"])


def assemble(
    folder: Path,
    config: StudyConfig,
    plain: Mapping[str, Any],
    objective: Objective,
    trials: tuple[Trial, ...],
    loader: Callable[[Path, str], Model],
    *,
    spent: float,
    ended: Mapping[str, Any] | None,
) -> Study:
    """Puts a study's record together from what was read."""
    return Study(
        name=config.name or folder.name,
        path=folder,
        state="done" if is_done(config, trials, spent, ended) else "open",
        objective=objective,
        trials=trials,
        best=_best(folder, trials, loader),
        config=plain,
        spent=spent,
        time=config.time,
        wanted=config.trials,
    )


def is_done(config: StudyConfig, trials: Iterable[Trial], spent: float, ended: Mapping[str, Any] | None) -> bool:
    """Whether a study's totals are reached, so that the same call again has nothing to do."""
    if ended is not None and ended.get("time") == config.time and ended.get("trials") == config.trials:
        return True
    trials = list(trials)
    if config.time is not None and spent >= config.time - reserve(config.time):
        return any(t.curve or t.failure for t in trials if t.stage != "screen")
    if config.trials is None or len(trials) < config.trials or any(t.state == "running" for t in trials):
        return False
    return sum(t.stage == "search" and not t.follows for t in trials) >= config.trials


def _best(folder: Path, trials: Iterable[Trial], loader: Callable[[Path, str], Model]) -> Best | None:
    path = folder / "best" / "model.json"
    try:
        facts = json.loads(path.read_text())
        number, at, metrics = facts["trial"], float(facts["at"]), facts["metrics"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path}: is damaged ({error})", hint="run the search again; it saves the model anew") from (
            error
        )
    for trial in trials:
        if trial.number == number:
            return Best(
                trial=trial,
                at=at,
                metrics=metrics,
                select=facts.get("select", {}),
                path=path.parent,
                loader=loader,
                after_training=tuple(facts.get("after_training", ())),
            )
    raise StudyError(f"{path}: names trial {number}, which the journal does not know")
