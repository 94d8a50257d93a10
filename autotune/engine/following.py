"""Following a search that others run: what has happened since one looked last, as observers are told of it."""

from __future__ import annotations

from typing import Any

from autotune.engine.context import Context
from autotune.study import Trial
from autotune.trainer import Epoch


class Follower:
    """Tells one observer of what workers do, from the study's folder; observers in the workers are told there.

    Args:
        context: The study, as it was set up.
        observer: An object with observer hooks; those that it lacks are left out.
    """

    def __init__(self, context: Context, observer: object) -> None:
        self._context = context
        self._observer = observer
        self._known = {trial.number: _mark(trial) for trial in context.study().trials}

    def look(self) -> None:
        """Tells what is new."""
        study = self._context.study()
        for trial in study.trials:
            mark = _mark(trial)
            known = self._known.get(trial.number, (0, 0.0, "running", None))
            if mark == known:
                continue
            self._known[trial.number] = mark
            if trial.attempts > known[0]:
                self._tell("autotune_trial_started", study=study, trial=trial)
            if trial.curve and mark[1] > known[1]:
                last = trial.curve[-1]
                epoch = Epoch(at=last.at, images=last.images, metrics=last.metrics)
                self._tell("autotune_epoch_finished", study=study, trial=trial, epoch=epoch)
            if (trial.state, trial.reason) != known[2:] and (trial.state != "running" or trial.reason):
                self._tell("autotune_trial_finished", study=study, trial=trial)

    def _tell(self, hook: str, **facts: Any) -> None:
        if (hear := getattr(self._observer, hook, None)) is not None:
            hear(**facts)


def _mark(trial: Trial) -> tuple[int, float, str, str | None]:
    """What changes as a trial goes on."""
    return trial.attempts, trial.curve[-1].at if trial.curve else 0.0, trial.state, trial.reason
