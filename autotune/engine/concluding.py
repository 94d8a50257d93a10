"""The end of trials: told to Optuna, to the observers and to the folder."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence

from optuna.trial import TrialState

from autotune.engine import attempt
from autotune.engine.checkpoints import thin_study
from autotune.engine.context import Context
from autotune.engine.failures import write_failure
from autotune.engine.fit import Ending
from autotune.engine.turns import Turn
from autotune.errors import AutotuneError

FAILURES_IN_A_ROW = 5


def conclude(context: Context, ended: Sequence[tuple[Turn, Ending]]) -> None:
    """Records how attempts ended that ended together."""
    objective, path = context.plan.objective, context.plan.path
    scores = {}
    if any(ending.end == "complete" for _, ending in ended):
        scores = {trial.number: trial.metrics for trial in context.study().trials}
    for turn, ending in ended:
        number, study = turn.plan.trial, context.optuna(turn.stage)
        if ending.failure is not None:
            write_failure(attempt.trial_folder(path, number), ending.failure)
        set_reason(turn, ending.reason)
        if ending.end == "complete":
            for limit, excess in zip(objective.limits, objective.excess(scores[number]), strict=True):
                if limit.metric not in turn.optuna.constraints:
                    turn.optuna.set_constraint(limit.metric, excess)
            study.tell(turn.optuna, list(objective.values(scores[number])))
        elif ending.end == "pruned":
            study.tell(turn.optuna, state=TrialState.PRUNED)
        elif ending.end == "failed":
            study.tell(turn.optuna, state=TrialState.FAIL)
    if over := [turn.plan.trial for turn, ending in ended if ending.end != "paused"]:
        context.records.forget(thin_study(path, context.study().trials, over, objective))
    context.notify("autotune_trial_finished", [turn.plan.trial for turn, _ in ended])
    context.clock.save()
    if any(ending.end == "failed" for _, ending in ended):
        gc.collect()  # the traceback held the trainer's tensors


def set_reason(turn: Turn, reason: str | None) -> None:
    """Keeps why a trial ended early, or waits."""
    if turn.optuna.user_attrs.get("reason") != reason:
        turn.optuna.set_user_attr("reason", reason)


def count_failures(context: Context, endings: Iterable[Ending]) -> None:
    """Stops the study at the fifth equal failure in a row; a batch of which all trials failed counts as one.

    Raises:
        AutotuneError: This was the fifth.
    """
    endings = list(endings)
    if any(ending.end in ("complete", "pruned") for ending in endings):
        context.failures.clear()
        return
    failure = next((ending.failure for ending in endings if ending.failure is not None), None)
    if failure is None:
        return
    failures = context.failures
    if failures and (failures[-1].kind, failures[-1].reason) != (failure.kind, failure.reason):
        failures.clear()
    failures.append(failure)
    if len(failures) >= FAILURES_IN_A_ROW:
        raise AutotuneError(
            f"{len(failures)} trials in a row failed alike ({failure.kind}): {failure.reason}",
            hint=f"see {context.plan.path}/trials/*/failure.json; the search goes on from here when it is run again",
        )
