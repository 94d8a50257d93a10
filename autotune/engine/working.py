"""Running one trial: an attempt, its epochs, its end."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

from optuna.trial import TrialState

from autotune import __version__
from autotune.checking import backbone_field
from autotune.engine import attempt
from autotune.engine.checkpoints import best_point, thin_attempt, thin_study
from autotune.engine.context import Context
from autotune.engine.failures import write_failure
from autotune.engine.fit import Ending, attend
from autotune.engine.pruning import Stop
from autotune.engine.resuming import DEATHS, Way, deaths, way_on
from autotune.engine.run import AttemptRun
from autotune.engine.turns import Turn
from autotune.errors import AutotuneError, StudyError
from autotune.study import Failure, Point
from autotune.trainer import Epoch, Recipe

FAILURES_IN_A_ROW = 5
_SLACK = 1e-6


def work(context: Context, turn: Turn) -> Ending:
    """Runs an attempt at a trial, and records how it ended.

    Raises:
        AutotuneError: The same failure has come five times in a row.
        StudyError: The folder cannot be written any more.
    """
    home = attempt.trial_folder(context.plan.path, turn.plan.trial)
    attempt.mend(home)
    past = attempt.read_attempts(home, context.plan.path)
    if turn.recipe is None:
        return _end(context, turn, Ending(end="failed", failure=turn.refused))
    if deaths(past) >= DEATHS:
        reason = f"{DEATHS} attempts in a row died without a new epoch"
        return _end(context, turn, Ending(end="failed", failure=Failure(kind="lost", reason=reason)))
    parent = None if turn.plan.parent is None else attempt.trial_folder(context.plan.path, turn.plan.parent)
    way = way_on(home, past, parent=parent)
    ended = _already(context, turn, way)
    if ended is None:
        ended = _attempt(context, turn, turn.recipe, way)
    return _end(context, turn, ended)


def _already(context: Context, turn: Turn, way: Way) -> Ending | None:
    """What the curve says of a trial whose worker died after its last epoch and before its end was recorded."""
    if not way.curve:
        return None
    if way.start >= turn.plan.epochs - _SLACK:
        return Ending(end="complete")
    study = context.study()
    stop = context.pruner.decide(replace(study.trial(turn.plan.trial), curve=way.curve), study)
    return None if stop is None else Ending(end="pruned", reason=stop.reason)


def _attempt(context: Context, turn: Turn, recipe: Recipe, way: Way) -> Ending:
    plan = context.plan
    folder = attempt.claim_attempt(attempt.trial_folder(plan.path, turn.plan.trial))
    attempt.begin(folder, start=way.start)
    _set_reason(turn, None)
    run = _run(context, turn, recipe, way, folder)
    run.beat()
    for problem in way.problems:
        run.note(problem)
    context.notify("autotune_trial_started", turn.plan.trial)

    def arrived(epoch: Epoch, point: Point) -> Stop | None:
        return _arrived(context, turn, run, epoch, point)

    context.pulse.add(run.beat)
    try:
        ending = attend(
            context.trainer,
            recipe,
            plan.dataset.data,
            run,
            objective=plan.objective,
            called=context.called,
            scored=any(p.metrics for p in way.curve),
            arrived=arrived,
        )
    except KeyboardInterrupt:
        attempt.finish(folder, "paused", run.elapsed)  # a person's wish, no death of the trial
        raise
    finally:
        context.pulse.remove(run.beat)
        context.batches += run.batches
    context.tails[run.added["backbone"]] = run.tail
    attempt.finish(folder, ending.end, run.elapsed)
    return ending


def _run(context: Context, turn: Turn, recipe: Recipe, way: Way, folder: Path) -> AttemptRun:
    plan = context.plan
    try:
        backbone = plan.backbone_of(recipe)
    except KeyError as error:
        raise StudyError(
            f"{plan.path}: trial {turn.plan.trial} needs the backbone {error}, which the study no longer has",
            hint="add it to backbones in study.toml",
        ) from error
    field = backbone_field(plan.trainer.recipe)
    name = None if field is None else getattr(recipe, field)
    resumed = way.checkpoint
    if resumed is not None:
        resumed = type(resumed)(path=resumed.path, facts=resumed.facts, backbone=backbone)
    tasks = plan.dataset.data.tasks
    classes = {t.name: list(t.classes) for t in tasks} if len(tasks) > 1 else list(tasks[0].classes)
    return AttemptRun(
        trial=turn.plan.trial,
        seed=turn.plan.seed,
        device=plan.device,
        epochs=turn.plan.epochs,
        deadline=context.clock.search_deadline,
        cache=plan.cache,
        backbone=backbone,
        augmentations=plan.plugins.augmentations,
        folder=folder,
        added={
            "autotune": __version__,
            "trainer": plan.trainer.name,
            "trial": turn.plan.trial,
            "backbone": name,
            "weights": turn.plan.weights,
            "classes": classes,
            "recipe": recipe.model_dump(mode="json"),
        },
        signals=context.signals,
        resume=resumed,
        tail=context.tails.get(name, 0.0),
    )


def _arrived(context: Context, turn: Turn, run: AttemptRun, epoch: Epoch, point: Point) -> Stop | None:
    """Records an epoch and asks the pruner."""
    context.pulse.check()
    attempt.add_point(run.folder, point)
    context.clock.save()
    objective = context.plan.objective
    if point.metrics and len(objective.goals) == 1 and point.at == int(point.at):
        _show(context, turn, int(point.at), objective.values(point.metrics)[0])
    study = context.notify("autotune_epoch_finished", turn.plan.trial, epoch=epoch)
    trial = study.trial(turn.plan.trial)
    best = best_point(trial.curve, objective)
    thin_attempt(run.folder, keep={Path(best.checkpoint).name} if best and best.checkpoint else set())
    return context.pruner.decide(trial, study) if point.metrics else None


def _show(context: Context, turn: Turn, step: int, value: float) -> None:
    """Keeps a score in the journal: TPE ranks pruned trials by these. Optuna's own pruners are never asked."""
    if step not in context.frozen(turn.stage)[turn.optuna.number].intermediate_values:
        turn.optuna.report(value, step)


def _set_reason(turn: Turn, reason: str | None) -> None:
    if turn.optuna.user_attrs.get("reason") != reason:
        turn.optuna.set_user_attr("reason", reason)


def _end(context: Context, turn: Turn, ending: Ending) -> Ending:
    """Tells Optuna, the observers and the folder how an attempt ended."""
    number, study = turn.plan.trial, context.optuna(turn.stage)
    home = attempt.trial_folder(context.plan.path, number)
    if ending.failure is not None:
        write_failure(home, ending.failure)
    _set_reason(turn, ending.reason)
    if ending.end == "complete":
        trial = context.study().trial(number)
        objective = context.plan.objective
        for limit, excess in zip(objective.limits, objective.excess(trial.metrics), strict=True):
            if limit.metric not in turn.optuna.constraints:
                turn.optuna.set_constraint(limit.metric, excess)
        study.tell(turn.optuna, list(objective.values(trial.metrics)))
    elif ending.end == "pruned":
        study.tell(turn.optuna, state=TrialState.PRUNED)
    elif ending.end == "failed":
        study.tell(turn.optuna, state=TrialState.FAIL)
    if ending.end != "paused":
        now = context.study()
        context.records.forget(thin_study(context.plan.path, now.trials, now.trial(number), context.plan.objective))
    context.notify("autotune_trial_finished", number)
    context.clock.save()
    if ending.end == "failed":
        gc.collect()  # the traceback held the trainer's tensors
        _count(context, ending)
    elif ending.end != "paused":
        context.failures.clear()
    return ending


def _count(context: Context, ending: Ending) -> None:
    """Stops the study at the fifth equal failure in a row."""
    if ending.failure is None:
        return
    failures = context.failures
    if failures and (failures[-1].kind, failures[-1].reason) != (ending.failure.kind, ending.failure.reason):
        failures.clear()
    failures.append(ending.failure)
    if len(failures) >= FAILURES_IN_A_ROW:
        raise AutotuneError(
            f"{len(failures)} trials in a row failed alike ({ending.failure.kind}): {ending.failure.reason}",
            hint=f"see {context.plan.path}/trials/*/failure.json; the search goes on from here when it is run again",
        )
