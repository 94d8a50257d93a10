"""What one search holds in this process, and the study as it sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from autotune.config import DEFAULT_LEASE, DEFAULT_RETRIES, StudyConfig
from autotune.engine import journal
from autotune.engine.clock import Clock, Pulse
from autotune.engine.leases import Watcher
from autotune.engine.pruning import Pruner
from autotune.engine.samplers import make_sampler
from autotune.engine.signals import Signals
from autotune.engine.snapshot import Records, assemble, read_study
from autotune.engine.storage import FINAL, MEMBERS, SCREEN, SEARCH, Journal
from autotune.engine.study_lock import StudyLock
from autotune.identity import FILE as STUDY_FILE
from autotune.study import Study, Trial
from autotune.trainer import Epoch, Trainer

if TYPE_CHECKING:
    from autotune.model import Model
    from autotune.plan import Plan

STAGES = (SEARCH, MEMBERS, FINAL)
"""Where trials train; screenings are over before the first of them."""
COPY_OF = "copy_of"
"""Marks the copies, in the search, of trials that are kept among the members of batches."""
NUMBER = journal.NUMBER
PLACE = "turn"
"""The attribute that says how many trials of the search came before; seeds derive from it."""


def lease_of(config: StudyConfig) -> float:
    """Seconds for which a worker's counter may stand still."""
    return DEFAULT_LEASE if config.lease is None else config.lease


def retries_of(config: StudyConfig) -> int:
    """How often a trial is taken over in a row without a new epoch, and how often a worker is started again."""
    return DEFAULT_RETRIES if config.retries is None else config.retries


@dataclass(kw_only=True)
class Context:
    """What one search holds.

    Attributes:
        plan: What the study is.
        journal: Optuna's side of it.
        clock: Its time.
        pulse: Beats while it works.
        signals: Whether somebody asked to stop.
        trainer: The trainer.
        called: The trainer with its plugin, for messages.
        pruner: What stops hopeless trials.
        loader: Loads the best model.
        plain: study.toml as plain values.
        worker: The mark of this call, by which others know whether it is over.
        tails: By backbone, and whether in a batch, the seconds to leave for the end of an epoch.
        batches: How often trainers asked whether to stop, in this call.
        lock: Held while trials are taken, and while they end.
        watcher: Sees which workers are alive.
        ended_before: The trials that had ended before this call.
    """

    plan: Plan
    journal: Journal
    clock: Clock
    pulse: Pulse
    signals: Signals
    trainer: Trainer[Any]
    called: str
    pruner: Pruner
    loader: Callable[[Path, str], Model]
    plain: dict[str, Any]
    worker: str
    tails: dict[tuple[str | None, bool], float] = field(default_factory=dict)
    batches: int = 0

    def __post_init__(self) -> None:
        self.records = Records(self.plan.path, self.plan.objective)
        self.lock = StudyLock(self.plan.path)
        self.watcher = Watcher(self.plan.path, lambda: self.pulse.awake)
        self.ended_before = {number for stage in STAGES for number in self.numbers(stage, ended=True)}
        self._written: int | None = None

    def study(self) -> Study:
        """The study as it stands."""
        return assemble(
            self.plan.path,
            self.plan.config,
            self.plain,
            self.plan.objective,
            self.records.trials([(stage, self.frozen(stage)) for stage in (SCREEN, *STAGES)]),
            self.loader,
            spent=self.clock.spent,
            ended=self.clock.ended,
        )

    def optuna(self, stage: str) -> optuna.Study:
        """The journal's study for a stage."""
        journal = self.journal
        studies = {SEARCH: journal.search, MEMBERS: journal.members, FINAL: journal.final, SCREEN: journal.screen}
        return studies[stage]

    def frozen(self, stage: str) -> Sequence[FrozenTrial]:
        """Optuna's trials of a stage, those that only wait in the queue included."""
        return self.optuna(stage).get_trials(deepcopy=False)

    def waiting(self) -> list[tuple[str, FrozenTrial]]:
        """Trials that have begun and not ended, those of the search first."""
        return [(s, t) for s in STAGES for t in self.frozen(s) if t.state == TrialState.RUNNING]

    def begun(self) -> int:
        """How many trials that count towards the total have begun; a batch counts as one.

        What a death has left half asked is told as failed without a number, and counts for nothing.
        """
        return sum(
            t.state != TrialState.WAITING
            and COPY_OF not in t.user_attrs
            and (t.state != TrialState.FAIL or NUMBER in t.user_attrs)
            for t in self.frozen(SEARCH)
        )

    def numbers(self, stage: str, *, ended: bool = False) -> Iterator[int]:
        """The numbers of a stage's trials, or of those only that have ended."""
        for trial in self.frozen(stage):
            if NUMBER in trial.user_attrs and (trial.state.is_finished() or not ended):
                yield trial.user_attrs[NUMBER]

    def last_number(self) -> int:
        """The highest number of a trial that the journal knows; -1 without any."""
        return max((number for stage in (SCREEN, *STAGES) for number in self.numbers(stage)), default=-1)

    def record(self, stage: str, place: int) -> Trial:
        """One trial that has a number, as it stands, by its place among those of its stage."""
        record = self.records.trial(stage, self.frozen(stage)[place])
        if record is None:
            raise KeyError(f"trial {place} of {stage} has no number yet")
        return record

    @property
    def lease(self) -> float:
        """Seconds for which a worker's counter may stand still."""
        return lease_of(self.plan.config)

    def refresh(self) -> None:
        """Takes over totals that somebody has changed in study.toml meanwhile.

        Raises:
            StudyError: The file is damaged.
        """
        written = (self.plan.path / STUDY_FILE).stat().st_mtime_ns
        if written != self._written:
            stored, self.plain = read_study(self.plan.path)
            totals = {key: getattr(stored, key) for key in ("time", "trials", "lease", "retries")}
            self.plan = replace(self.plan, config=self.plan.config.model_copy(update=totals))
            self.clock.total, self._written = stored.time, written

    def sampler(self, place: int) -> BaseSampler:
        """The sampler for the trial at a place in the study."""
        config = self.plan.config
        return make_sampler(config.sampler, seed=config.seed, place=place)

    def notify(self, hook: str, numbers: Sequence[int], epochs: Mapping[int, Epoch] | None = None) -> Study:
        """Tells the observers about trials, one by one, and returns what they were told of the study.

        Args:
            hook: The observers' hook.
            numbers: The trials.
            epochs: What each has yielded, for the hook that is told of epochs.
        """
        study = self.study()
        trials = {trial.number: trial for trial in study.trials}
        for number in numbers:
            more = {} if epochs is None else {"epoch": epochs[number]}
            self.plan.plugins.notify(hook, study=study, trial=trials[number], **more)
        return study
