"""Taking trials: new ones, ones that wait, and ones that continue another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune.engine import attempt
from autotune.engine.context import NUMBER, PLACE, Context
from autotune.engine.drawing import Member, draw
from autotune.engine.recipes import TrialPlan
from autotune.engine.samplers import derived_seed
from autotune.engine.storage import FINAL, SEARCH
from autotune.engine.suggest import complete, suggest
from autotune.errors import AutotuneError, StudyError
from autotune.fields import build_recipe
from autotune.study import Failure, Trial
from autotune.trainer import Recipe

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A trial that was taken.

    Attributes:
        optuna: Optuna's trial.
        stage: Which of the journal's studies it belongs to.
        plan: What it is.
        recipe: Its recipe, checked; None if it was refused.
        refused: Why the recipe was refused.
        drawn: The further recipes of the batch that it leads, where they were drawn just now.
    """

    optuna: optuna.Trial
    stage: str
    plan: TrialPlan
    recipe: Recipe | None
    refused: Failure | None = None
    drawn: Sequence[Member] | None = None


def begin_journal(context: Context) -> None:
    """Queues the recipes to try first, and drops continuations that died before they had a number."""
    frozen = context.frozen(SEARCH)
    queued = sum("fixed_params" in t.system_attrs for t in frozen)
    if queued == len(frozen):
        plan = context.plan
        for proposal in plan.portfolio[queued:]:
            context.journal.search.enqueue_trial(complete(proposal, plan.space, plan.trainer.recipe))
    for trial in context.frozen(FINAL):
        if trial.state == TrialState.RUNNING and NUMBER not in trial.user_attrs:
            context.journal.final.tell(trial.number, state=TrialState.FAIL)


def ask(context: Context) -> Turn:
    """Takes a new trial of the search; the caller holds the study's lock."""
    place = context.begun()
    context.lock.check()
    context.journal.search.sampler = context.sampler(place)
    return _turn(context, context.journal.search.ask(), place)


def resume(context: Context, stage: str, frozen: FrozenTrial) -> Turn:
    """Takes a trial again that has not ended; the caller holds the study's lock.

    A death may have come while its hyperparameters were sampled. What is left would not be what an undisturbed search
    samples, so it is dropped, and asked for anew; a recipe that was queued is completed instead.
    """
    context.lock.check()
    known = frozen.user_attrs
    if stage == SEARCH and not known.keys() & {PLACE, NUMBER} and "fixed_params" not in frozen.system_attrs:
        context.journal.search.tell(frozen.number, state=TrialState.FAIL)
        return ask(context)
    study = context.optuna(stage)
    place = known.get(PLACE, frozen.number if NUMBER in known else context.begun() - 1)
    study.sampler = context.sampler(place)
    trial = optuna.trial.Trial(study, frozen._trial_id)
    return _turn(context, trial, place) if stage == SEARCH else _continued(context, trial)


def continue_beyond(context: Context, leader: Trial, epochs: int) -> Turn:
    """Takes a new trial that trains the leader longer than its recipe says; the caller holds the study's lock."""
    context.lock.check()
    number, folder = attempt.claim_trial(context.plan.path, context.last_number(), context.lock.check)
    recipe, _ = accepted(context, lambda: validated(context, leader.recipe))
    TrialPlan(
        trial=number,
        stage="final",
        trainer=context.plan.trainer.name,
        seed=leader.seed,
        epochs=epochs,
        weights=None if recipe is None else weights_of(context, recipe),
        parent=leader.number,
        recipe=leader.recipe,
        sampled=leader.sampled,
    ).write(folder, context.lock.check)
    context.lock.check()  # the disk may have been full for longer than the hold
    context.journal.final.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={NUMBER: number}))
    frozen = next(t for t in context.frozen(FINAL) if t.user_attrs.get(NUMBER) == number)
    return _continued(context, optuna.trial.Trial(context.journal.final, frozen._trial_id))


def _continued(context: Context, trial: optuna.Trial) -> Turn:
    return again(context, FINAL, trial, trial.user_attrs[NUMBER])


def again(context: Context, stage: str, trial: optuna.Trial, number: int) -> Turn:
    """A trial as it was written down when it was taken; what the trainer takes no longer is refused."""
    plan = recorded(context, number)
    recipe, refused = accepted(context, lambda: validated(context, plan.recipe))
    return Turn(optuna=trial, stage=stage, plan=plan, recipe=recipe, refused=refused)


def accepted(context: Context, make: Callable[[], T]) -> tuple[T, None] | tuple[None, Failure]:
    """What is made of a recipe, or why the recipe is refused."""
    try:
        return make(), None
    except (AutotuneError, ValueError) as error:
        text = error.message if isinstance(error, AutotuneError) else " ".join(str(error).split())
        return None, Failure(kind="plugin", reason=f"{context.called}: the recipe is refused: {text}")


def _turn(context: Context, trial: optuna.Trial, place: int) -> Turn:
    """Gives a trial of the search its number, folder and recipe, as far as it has none yet."""
    sampled = suggest(trial, context.plan.space)
    number = trial.user_attrs.get(NUMBER)
    if number is None:
        context.lock.check()
        if PLACE not in trial.user_attrs:
            trial.set_user_attr(PLACE, place)
        number, _ = attempt.claim_trial(context.plan.path, context.last_number(), context.lock.check)
        context.lock.check()  # who has broken the hold may be training this trial, by another number
        trial.set_user_attr(NUMBER, number)
    folder = attempt.trial_folder(context.plan.path, number)
    folder.mkdir(parents=True, exist_ok=True)
    plan = TrialPlan.read(folder)
    if plan is not None:
        return again(context, SEARCH, trial, number)

    def make() -> tuple[Recipe, Sequence[Member]]:
        recipe = context.plan.recipe(sampled)
        return recipe, draw(context.plan, sampled, recipe, seed=member_seed(context, place))

    made, refused = accepted(context, make)
    recipe, drawn = (None, ()) if made is None else made
    plan = TrialPlan(
        trial=number,
        stage="search",
        trainer=context.plan.trainer.name,
        seed=_seed(context, place),
        epochs=context.plan.epochs or 1,
        weights=None if recipe is None else weights_of(context, recipe),
        batch=number if drawn else None,
        recipe=sampled if recipe is None else recipe.model_dump(mode="json"),
        sampled=sampled,
    )
    plan.write(folder, context.lock.check)
    return Turn(optuna=trial, stage=SEARCH, plan=plan, recipe=recipe, refused=refused, drawn=drawn)


def recorded(context: Context, number: int) -> TrialPlan:
    """What a trial is, as it was written down when it was taken.

    Raises:
        StudyError: Its file is gone or damaged.
    """
    folder = attempt.trial_folder(context.plan.path, number)
    plan = TrialPlan.read(folder)
    if plan is None:
        raise StudyError(
            f"{folder}: the trial has lost its recipe.toml", hint="restore the file from a backup of the study"
        )
    return plan


def validated(context: Context, recipe: Mapping[str, Any]) -> Recipe:
    """A recorded recipe as the trainer takes it."""
    return build_recipe(context.plan.trainer.recipe, recipe)


def weights_of(context: Context, recipe: Recipe) -> str | None:
    """Digest of the weights that a recipe's backbone starts from, or None."""
    backbone = context.plan.backbone_of(recipe)
    return backbone.weights.digest if backbone and backbone.weights else None


def _seed(context: Context, place: int) -> int:
    """A trial's seed: its own, or, where one was given to be reproduced, that one for the first trial."""
    given = context.plan.config.trial_seed
    return given if given is not None and place == 0 else derived_seed("trial", context.plan.config.seed, place)


def member_seed(context: Context, place: int) -> int:
    """The seed by which the members of a batch are drawn that the trial at a place leads."""
    return derived_seed("batch", context.plan.config.seed, place)
