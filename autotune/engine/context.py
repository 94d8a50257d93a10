"""What one search holds in this process, and the study as it sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from autotune.engine.clock import Clock, Pulse
from autotune.engine.pruning import Pruner
from autotune.engine.samplers import make_sampler
from autotune.engine.signals import Signals
from autotune.engine.snapshot import Records, assemble
from autotune.engine.storage import FINAL, MEMBERS, SCREEN, SEARCH, Journal
from autotune.study import Failure, Study
from autotune.trainer import Epoch, Trainer

if TYPE_CHECKING:
    from autotune.model import Model
    from autotune.plan import Plan

STAGES = (SEARCH, MEMBERS, FINAL)
"""Where trials train; screenings are over before the first of them."""
COPY_OF = "copy_of"
"""Marks the copies, in the search, of trials that are kept among the members of batches."""


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
        tails: By backbone, and whether in a batch, the seconds to leave for the end of an epoch.
        failures: The failures since the last trial that did not fail.
        batches: How often trainers asked whether to stop, in this call.
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
    tails: dict[tuple[str | None, bool], float] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    batches: int = 0

    def __post_init__(self) -> None:
        self.records = Records(self.plan.path, self.plan.objective)

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
        """How many trials that count towards the total have begun; a batch counts as one."""
        return sum(t.state != TrialState.WAITING and COPY_OF not in t.user_attrs for t in self.frozen(SEARCH))

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
