"""Batches: one trial of the search leads, others are trained together with it.

The leader is asked like any trial. Its members are trials too, with numbers, folders and curves of their own, but
the sampler does not see them, and the batch counts as one towards ``--trials``. When it has ended, copies of its
best few members join the search.
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune.engine import attempt
from autotune.engine.context import COPY_OF, PLACE, Context
from autotune.engine.drawing import draw
from autotune.engine.recipes import TrialPlan
from autotune.engine.storage import FINAL, MEMBERS, SEARCH
from autotune.engine.suggest import distribution
from autotune.engine.turns import Turn, again, member_seed, resume, weights_of
from autotune.objective import Objective
from autotune.study import Trial

TOLD = 3
"""Members of a batch, besides its leader, that the sampler is told of."""


def gather(context: Context, leader: Turn) -> list[Turn]:
    """A trial of the search with the members of its batch that have not ended; alone, where it leads none.

    Members are made before any of the batch begins; those that a death has left out are made now.
    """
    number = leader.plan.trial
    if leader.plan.batch is None or leader.recipe is None:
        return [leader]
    if not attempt.attempts(attempt.trial_folder(context.plan.path, number)):
        _make(context, leader)
    return [leader, *_waiting(context, number)]


def take_again(context: Context, stage: str, frozen: FrozenTrial) -> list[Turn]:
    """A trial that has begun and not ended, with what is left of its batch."""
    if stage == MEMBERS:
        return _waiting(context, frozen.user_attrs["batch"])
    turn = resume(context, stage, frozen)
    return [turn] if stage == FINAL else gather(context, turn)


def share(context: Context, number: int) -> None:
    """Tells the sampler of the best members of a batch, once all of it has ended; it knows the leader already.

    A second time does nothing.
    """
    with context.lock.held():
        _share(context, [trial for trial in context.study().trials if trial.batch == number])


def share_all(context: Context) -> None:
    """Makes up for copies that a death has left out."""
    batches: dict[int, list[Trial]] = {}
    for trial in context.study().trials:
        if trial.batch is not None:
            batches.setdefault(trial.batch, []).append(trial)
    for number in sorted(batches):
        _share(context, batches[number])


def _share(context: Context, batch: Sequence[Trial]) -> None:
    if any(trial.state == "running" for trial in batch):
        return
    objective, space = context.plan.objective, context.plan.space
    best = objective.ranked((t, t.metrics) for t in batch if t.follows and t.value is not None)[:TOLD]
    told = {trial.user_attrs.get(COPY_OF) for trial in context.frozen(SEARCH)}
    for trial in best:
        known = {name: value for name, value in trial.sampled.items() if name in space}
        if trial.number not in told and all(space[name].contains(value) for name, value in known.items()):
            context.journal.search.add_trial(_copy(trial, context, objective, known))


def _copy(trial: Trial, context: Context, objective: Objective, known: dict[str, object]) -> FrozenTrial:
    values, curve = None, {}
    if trial.state == "complete":
        values = list(objective.values(trial.metrics))
    elif len(objective.goals) == 1:
        curve = {int(p.at): objective.values(p.metrics)[0] for p in trial.curve if p.metrics and p.at == int(p.at)}
    limits = zip(objective.limits, objective.excess(trial.metrics), strict=True)
    return create_trial(
        state=TrialState.COMPLETE if values else TrialState.PRUNED,
        params=known,
        distributions={name: distribution(context.plan.space[name]) for name in known},
        values=values,
        intermediate_values=curve,
        constraints={limit.metric: excess for limit, excess in limits} if values else None,
        user_attrs={COPY_OF: trial.number},
    )


def _make(context: Context, leader: Turn) -> None:
    """Makes the members of a batch that are not there yet."""
    plan, number = context.plan, leader.plan.trial
    if leader.recipe is None:
        return
    made = {t.user_attrs["place"] for t in _members(context, number)}
    seed = member_seed(context, leader.optuna.user_attrs.get(PLACE, leader.optuna.number))
    known = {name: distribution(dimension) for name, dimension in plan.space.items()}
    last, own = context.last_number(), -1
    drawn = leader.drawn
    if drawn is None:  # a death came before all of them were made
        drawn = draw(plan, leader.plan.sampled, leader.recipe, seed=seed)
    for place, member in enumerate(drawn):
        if place in made:
            continue
        context.lock.check()
        own, folder = attempt.claim_trial(plan.path, max(last, own), context.lock.check)
        TrialPlan(
            trial=own,
            stage="search",
            trainer=leader.plan.trainer,
            seed=leader.plan.seed,  # so that the batch sees the images in one order
            epochs=leader.plan.epochs,
            weights=weights_of(context, member.recipe),
            batch=number,
            recipe=member.recipe.model_dump(mode="json"),
            sampled=member.sampled,
        ).write(folder, context.lock.check)
        context.lock.check()  # the disk may have been full for longer than the hold
        context.journal.members.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(member.sampled),
                distributions={name: known[name] for name in member.sampled},
                user_attrs={"number": own, "batch": number, "place": place},
            )
        )


def _members(context: Context, number: int) -> list[FrozenTrial]:
    return [t for t in context.frozen(MEMBERS) if t.user_attrs["batch"] == number]


def _waiting(context: Context, number: int) -> list[Turn]:
    """The members of a batch that have not ended, by number."""
    found = [t for t in _members(context, number) if t.state == TrialState.RUNNING]
    turns = []
    for frozen in sorted(found, key=lambda t: int(t.user_attrs["number"])):
        trial = optuna.trial.Trial(context.journal.members, frozen._trial_id)
        turns.append(again(context, MEMBERS, trial, frozen.user_attrs["number"]))
    return turns
