"""What is settled before the first trial, once in a study: its candidates, and what it takes over from past studies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autotune.engine.context import Context
from autotune.engine.learning import learn
from autotune.engine.narrowing import Candidate, most_candidates, narrowed, priors, with_candidates
from autotune.engine.pacing import cost
from autotune.engine.screening import screen, wanted
from autotune.engine.snapshot import read_study
from autotune.engine.storage import SEARCH
from autotune.relations import Description, Relation, history, relate, with_learned
from autotune.study import Trial

if TYPE_CHECKING:
    from autotune.plan import Plan


def settle(context: Context) -> None:
    """Looks at the candidates, relates past studies to what is seen, and narrows the plan accordingly.

    What was settled is written into study.toml; a study that goes on, or whose search has begun, settles nothing anew.
    Where somebody asked to stop, nothing is settled yet.

    Raises:
        StudyError: The folder cannot be written.
    """
    plan = context.plan
    if context.frozen(SEARCH):
        return
    looks = "screened" not in plan.config.made and wanted(plan, context.trainer)
    if not looks and not plan.past:
        return
    trials: Mapping[str, Trial] = {}
    missed: Mapping[str, str] = {}
    if looks:
        trials, missed = screen(context)
    if context.signals.asked is not None:
        return
    seen = {name: trial.screening.score for name, trial in trials.items() if trial.screening is not None}
    today = Description.of(plan.dataset.data)
    relations = [relate(today, seen, past) for past in plan.past]
    made: dict[str, Any] = {}
    reasons: list[str] = []
    if looks:
        candidates = _candidates(plan, trials, missed, relations)
        plan, told = _chosen(plan, candidates, context.clock.left)
        made["screened"] = list(seen)
        reasons += told
    if plan.past:
        learned = learn(plan, relations)
        made["learned"] = {
            "weights": {relation.past.name: round(relation.weight, 4) for relation in relations},
            "recipes": {str(number): dict(recipe) for number, recipe in enumerate(learned.recipes, start=1)},
        }
        plan = replace(plan, portfolio=with_learned(plan.portfolio, learned.recipes), past=())
        reasons += learned.reasons
    config = plan.config.model_copy(update={"made": {**plan.config.made, **made}})
    context.plan = replace(plan, config=config, reasons=(*plan.reasons, *reasons))
    context.plan.write()
    context.plain = read_study(context.plan.path)[1]


def _candidates(
    plan: Plan, trials: Mapping[str, Trial], missed: Mapping[str, str], relations: list[Relation]
) -> list[Candidate]:
    prior = priors(plan.backbones, history(relations))
    found = []
    for name in plan.backbones:
        trial = trials.get(name)
        failure = None if trial is None else trial.failure
        problem = missed.get(name, "") if trial is None else trial.reason or ""
        found.append(
            Candidate(
                name=name,
                screening=None if trial is None else trial.screening,
                problem=problem if failure is None else f"could not be looked at ({failure.kind}: {failure.reason})",
                failed=failure is not None,
                prior=prior[name],
                cost=cost(plan, name),
            )
        )
    return found


def _chosen(plan: Plan, candidates: list[Candidate], left: float) -> tuple[Plan, list[str]]:
    """The plan with the candidates that stay, and why; as it is where none could be looked at."""
    if all(candidate.screening is None for candidate in candidates):
        return plan, [f"{candidate.name}: {candidate.problem}: kept" for candidate in candidates]
    images = sum(len(task.train) + len(task.val) for task in plan.dataset.data.tasks)
    most = most_candidates(plan.config.time, plan.config.trials)
    verdicts = narrowed(candidates, most=most, images=images, left=left)
    kept = [verdict.name for verdict in verdicts if verdict.kept]
    return with_candidates(plan, kept), [verdict.reason for verdict in verdicts]
