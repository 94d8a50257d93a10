"""The end of trials: told to Optuna, to the observers and to the folder."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence

from optuna.trial import TrialState

from autotune.engine import attempt
from autotune.engine.checkpoints import thin_study
from autotune.engine.context import NUMBER, STAGES, Context
from autotune.engine.failures import write_failure
from autotune.engine.fit import Ending
from autotune.engine.turns import Turn
from autotune.errors import RepeatedFailure
from autotune.study import Trial

FAILURES_IN_A_ROW = 5


def conclude(context: Context, ended: Sequence[tuple[Turn, Ending]]) -> None:
    """Records how attempts ended that ended together; the caller holds the study's lock, and they are its own."""
    objective, path = context.plan.objective, context.plan.path
    for turn, ending in ended:
        study = context.optuna(turn.stage)
        if ending.failure is not None:
            write_failure(attempt.trial_folder(path, turn.plan.trial), ending.failure)
        set_reason(turn, ending.reason)
        if ending.end == "complete":
            metrics = context.record(turn.stage, turn.optuna.number).metrics
            for limit, excess in zip(objective.limits, objective.excess(metrics), strict=True):
                if limit.metric not in turn.optuna.constraints:
                    turn.optuna.set_constraint(limit.metric, excess)
            study.tell(turn.optuna, list(objective.values(metrics)), skip_if_finished=True)
        elif ending.end != "paused":
            state = TrialState.PRUNED if ending.end == "pruned" else TrialState.FAIL
            study.tell(turn.optuna, state=state, skip_if_finished=True)


def announce(context: Context, ended: Sequence[tuple[Turn, Ending]]) -> None:
    """Thins out what nobody needs since trials have ended, and tells the observers of them."""
    if over := [turn.plan.trial for turn, ending in ended if ending.end != "paused"]:
        path, objective = context.plan.path, context.plan.objective
        context.records.forget(thin_study(path, context.study().trials, over, objective))
    context.notify("autotune_trial_finished", [turn.plan.trial for turn, _ in ended])
    context.clock.save()
    if any(ending.end == "failed" for _, ending in ended):
        gc.collect()  # the traceback held the trainer's tensors


def set_reason(turn: Turn, reason: str | None) -> None:
    """Keeps why a trial ended early, or waits."""
    if turn.optuna.user_attrs.get("reason") != reason:
        turn.optuna.set_user_attr("reason", reason)


def check_failures(context: Context, endings: Iterable[Ending]) -> None:
    """Stops the search at the fifth equal failure in a row.

    Args:
        context: The search.
        endings: How the trials ended that this worker ran last.

    Raises:
        RepeatedFailure: The last five trials failed alike.
    """
    if any(ending.failure is not None for ending in endings) and (error := repeated(context)) is not None:
        raise error


def repeated(context: Context) -> RepeatedFailure | None:
    """The error for five equal failures in a row, whoever ran the trials; failures before this call are over.

    A batch of which all trials failed counts as one failure, another one as none.
    """
    ends = {
        t.user_attrs[NUMBER]: t.datetime_complete
        for stage in STAGES
        for t in context.frozen(stage)
        if t.datetime_complete is not None and NUMBER in t.user_attrs
    }
    batches: dict[int, list[Trial]] = {}
    for trial in context.study().trained:
        batches.setdefault(trial.number if trial.batch is None else trial.batch, []).append(trial)
    over = [
        batch
        for batch in batches.values()
        if all(t.number in ends for t in batch) and any(t.number not in context.ended_before for t in batch)
    ]
    over.sort(key=lambda batch: max(ends[t.number] for t in batch))
    last = over[-FAILURES_IN_A_ROW:]
    if len(last) < FAILURES_IN_A_ROW or any(t.state != "failed" for batch in last for t in batch):
        return None
    failures = [batch[0].failure for batch in last]
    first = failures[0]
    if first is None or any(f is None or (f.kind, f.reason) != (first.kind, first.reason) for f in failures):
        return None
    return RepeatedFailure(
        f"{len(last)} trials in a row failed alike ({first.kind}): {first.reason}",
        hint=f"see {context.plan.path}/trials/*/failure.json; the search goes on from here when it is run again",
    )
