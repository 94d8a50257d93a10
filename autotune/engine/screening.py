"""The stage ``screen``: every candidate is looked at once before the search.

Each look is a trial with a folder, a recipe and one line of scores, so that it can be read, and survives a death. It
feeds no sampler and makes no model.
"""

from __future__ import annotations

import math
import numbers
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune.checking import backbone_field
from autotune.engine import attempt
from autotune.engine.context import Context, retries_of
from autotune.engine.failures import failure_of, write_failure
from autotune.engine.fit import Ending
from autotune.engine.pacing import UNFREEZE, cost
from autotune.engine.recipes import TrialPlan
from autotune.engine.resuming import deaths
from autotune.engine.run import AttemptRun, CannotSaveError
from autotune.engine.samplers import derived_seed
from autotune.engine.storage import SCREEN
from autotune.engine.suggest import clip, complete
from autotune.engine.turns import accepted, recorded, validated
from autotune.engine.watch import Watch
from autotune.errors import StudyError
from autotune.space import Scalar
from autotune.study import SECONDS, Failure, Point, Trial
from autotune.trainer import Epoch, Recipe, Screening, Trainer

if TYPE_CHECKING:
    from autotune.plan import Plan

SHARE = 0.1
"""Share of a study's time that all looks together may take."""
LEAST = 2.0
"""Seconds below which none is begun."""
OVER = "not looked at, for looking at candidates may take a tenth of the time"
CUT = "not looked at to the end, for looking at candidates may take a tenth of the time"


def wanted(plan: Plan, trainer: Trainer[Any]) -> bool:
    """Whether candidates are to be looked at: there are several, with weights, and the trainer can tell."""
    field = backbone_field(plan.trainer.recipe)
    several = field is not None and field in plan.space and len(plan.backbones) > 1
    able = type(trainer).screen is not Trainer.screen
    return plan.config.screen and plan.config.pretrained and several and able


def screen(context: Context) -> tuple[dict[str, Trial], dict[str, str]]:
    """Looks at the candidates that have not been looked at, the cheapest first, until a tenth of the time is used up.

    Returns:
        The trial of each candidate that was looked at, or could not be, and why others were not looked at, by name.
        Where somebody asked to stop, a trial may wait; the next call does it again.

    Raises:
        StudyError: The folder cannot be written.
    """
    plan, total = context.plan, context.clock.total
    share = math.inf if total is None else SHARE * total
    waiting = {t.user_attrs["backbone"]: t for t in context.frozen(SCREEN) if t.state == TrialState.RUNNING}
    missed: dict[str, str] = {}
    for name in sorted(plan.backbones, key=lambda name: cost(plan, name)):
        known = _known(context)
        if name in known and known[name].state != "running":
            continue
        if context.signals.asked is not None:
            break
        left = min(share - sum(t.seconds for t in known.values()), context.clock.left)
        if left < max(LEAST, _expected(plan, name, known)):
            missed[name] = OVER
            if name in waiting:
                _record(context, waiting[name], Ending(end="pruned", reason=OVER))
            continue
        _look(context, waiting.get(name) or _begun(context, name), left)
    return _known(context), missed


def _known(context: Context) -> dict[str, Trial]:
    """The screenings so far by the name of their backbone."""
    return {str(t.recipe["backbone"]): t for t in context.study().screened if "backbone" in t.recipe}


def _expected(plan: Plan, name: str, known: Mapping[str, Trial]) -> float:
    """Seconds that a look will take, in proportion to the one at the costliest candidate so far."""
    done = [n for n, t in known.items() if t.screening is not None and n in plan.backbones]
    if not done:
        return 0.0
    nearest = max(done, key=lambda n: cost(plan, n))
    return known[nearest].seconds * cost(plan, name) / max(cost(plan, nearest), 1e-9)


def _begun(context: Context, name: str) -> FrozenTrial:
    """Writes down a new screening; a death in between leaves a number that nobody has."""
    plan = context.plan
    number, folder = attempt.claim_trial(plan.path, context.last_number())
    sampled: dict[str, Scalar] = {**complete({}, plan.space, plan.trainer.recipe), "backbone": name}
    if UNFREEZE in plan.space:
        sampled[UNFREEZE] = clip(0.0, plan.space[UNFREEZE])
    recipe, _ = accepted(context, lambda: plan.recipe(sampled))
    weights = plan.backbones[name].weights
    TrialPlan(
        trial=number,
        stage="screen",
        trainer=plan.trainer.name,
        seed=derived_seed("screen", plan.config.seed),
        epochs=1,
        weights=weights.digest if weights else None,
        recipe=sampled if recipe is None else recipe.model_dump(mode="json"),
        sampled={"backbone": name},
    ).write(folder)
    begun = create_trial(state=TrialState.RUNNING, user_attrs={"number": number, "backbone": name})
    context.journal.screen.add_trial(begun)
    return next(t for t in context.frozen(SCREEN) if t.user_attrs["number"] == number)


def _look(context: Context, frozen: FrozenTrial, left: float) -> None:
    """Takes a look, and records how it ended; a look that was written down before a worker died is not taken again."""
    plan = context.plan
    number = frozen.user_attrs["number"]
    home = attempt.trial_folder(plan.path, number)
    attempt.mend(home)
    past = attempt.read_attempts(home, plan.path)
    recipe, refused = accepted(context, lambda: validated(context, recorded(context, number).recipe))
    if any(part.points for part in past):
        ending = Ending(end="complete")
    elif recipe is None:
        ending = Ending(end="failed", failure=refused)
    elif (count := deaths(past)) > retries_of(plan.config):
        reason = f"{count} attempts in a row died"
        ending = Ending(end="failed", failure=Failure(kind="lost", reason=reason))
    else:
        ending = _attempt(context, number, recipe, left)
    _record(context, frozen, ending)


def _record(context: Context, frozen: FrozenTrial, ending: Ending) -> None:
    """Tells the journal and the observers how a look ended."""
    number = frozen.user_attrs["number"]
    trial = optuna.trial.Trial(context.journal.screen, frozen._trial_id)
    if ending.failure is not None:
        write_failure(attempt.trial_folder(context.plan.path, number), ending.failure)
    if trial.user_attrs.get("reason") != ending.reason:
        trial.set_user_attr("reason", ending.reason)
    if ending.end == "complete":
        seen = context.study().trial(number).curve[-1].metrics
        scores = [score for name, score in seen.items() if name != SECONDS]
        context.journal.screen.tell(trial, sum(scores) / len(scores))
    elif ending.end != "paused":
        context.journal.screen.tell(trial, state=TrialState.PRUNED if ending.end == "pruned" else TrialState.FAIL)
    context.notify("autotune_trial_finished", [number])
    context.clock.save()


def _attempt(context: Context, number: int, recipe: Recipe, left: float) -> Ending:
    """One attempt at a look."""
    plan, pulse = context.plan, context.pulse
    folder = attempt.claim_attempt(attempt.trial_folder(plan.path, number))
    deadline = None if math.isinf(left) else time.monotonic() + left
    watch = Watch(deadline, context.signals)
    run = AttemptRun(
        trial=number,
        seed=derived_seed("screen", plan.config.seed),
        device=plan.device,
        epochs=1,
        deadline=deadline,
        cache=plan.cache,
        cache_limit=plan.config.cache_size,
        backbone=plan.backbone_of(recipe),
        augmentations=plan.plugins.augmentations,
        folder=folder,
        added={},
        watch=watch,
    )
    try:
        attempt.begin(folder, start=0.0)
        run.beat()
        context.notify("autotune_trial_started", [number])
        pulse.add(run.beat)
        ending, seen = _asked(context, recipe, run)
        if seen is not None:
            metrics = {**{str(name): float(score) for name, score in seen.scores.items()}, SECONDS: float(seen.seconds)}
            point = Point(at=1.0, metrics=metrics, images=int(seen.images), seconds=run.elapsed)
            attempt.add_point(folder, point)
            epoch = Epoch(at=1.0, images=point.images, metrics=metrics)
            context.notify("autotune_epoch_finished", [number], {number: epoch})
        attempt.finish(folder, ending.end, run.elapsed)
        return ending
    except (KeyboardInterrupt, StudyError, OSError):
        attempt.pause(folder, run.elapsed, epochs=False)  # a person's wish, or a full disk: no death of the trial
        raise
    finally:
        pulse.remove(run.beat)


def _asked(context: Context, recipe: Recipe, run: AttemptRun) -> tuple[Ending, Screening | None]:
    """What the trainer says of the recipe's backbone."""
    try:
        answer = context.trainer.screen(recipe, context.plan.dataset.data, run)
    except CannotSaveError:
        raise
    except Exception as error:
        return Ending(end="failed", failure=failure_of(error, context.called)), None
    if answer is not None:
        if problem := _problem(answer):
            reason = f"{context.called}: screen returned {problem}"
            return Ending(end="failed", failure=Failure(kind="plugin", reason=reason)), None
        return Ending(end="complete"), answer
    if run.watch.asked == "deadline":
        return Ending(end="pruned", reason=CUT), None
    if run.watch.asked is not None or context.signals.asked is not None:
        return Ending(end="paused", reason=f"waits: {context.signals.asked} came"), None
    notes = attempt.read_attempt(run.folder, context.plan.path).notes
    return Ending(end="pruned", reason=notes[-1] if notes else f"{context.called} says nothing of it"), None


def _problem(answer: object) -> str | None:
    """What is wrong with a trainer's answer."""
    if not isinstance(answer, Screening):
        return f"{type(answer).__name__}, not an autotune.Screening"
    if not isinstance(answer.images, numbers.Integral) or isinstance(answer.images, bool) or answer.images < 1:
        return f"images={answer.images!r}, not the number of images that were scored"
    if not _finite(answer.seconds) or answer.seconds < 0:
        return f"seconds={answer.seconds!r}, not seconds"
    if not isinstance(answer.scores, Mapping) or not answer.scores:
        return "no scores"
    for name, score in answer.scores.items():
        if not _finite(score) or not 0 <= score <= 1 or name == SECONDS:
            return f"the score {name}={score!r}, not an accuracy from 0 to 1"
    return None


def _finite(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
