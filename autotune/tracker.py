"""Trackers follow a study from outside; every method is optional, and none can stop a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune.study import Study, Trial
    from autotune.trainer import Epoch


class Tracker:
    """Base for observers: implement what you need with ``@autotune.hookimpl``, register an instance."""

    def autotune_study_started(self, study: Study) -> None:
        """The search begins, or goes on."""

    def autotune_trial_started(self, study: Study, trial: Trial) -> None:
        """A trial begins, or resumes."""

    def autotune_epoch_finished(self, study: Study, trial: Trial, epoch: Epoch) -> None:
        """A trial yielded an epoch; the trial's curve includes it."""

    def autotune_trial_finished(self, study: Study, trial: Trial) -> None:
        """A trial is complete, pruned, failed or paused."""

    def autotune_study_finished(self, study: Study) -> None:
        """The search has ended, its best model saved."""
