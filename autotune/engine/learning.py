"""What past studies teach a search: recipes to try first, and how much to unfreeze."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.checking import backbone_field
from autotune.engine.drawing import position
from autotune.engine.pacing import UNFREEZE
from autotune.engine.suggest import clip, complete
from autotune.errors import AutotuneError
from autotune.relations import Relation
from autotune.space import Choice, Dimension, Scalar

if TYPE_CHECKING:
    from autotune.plan import Plan

MOST = 4
"""Recipes that are taken over, at most."""
NEAR = 0.1
"""Recipes are alike whose numbers lie nearer than this share of each range."""
STARTS = (UNFREEZE, "head")
"""What starts from the nearest tasks: how much is trained, and the kind of head where a trainer has several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What past studies teach.

    Attributes:
        recipes: To be tried after the first recipe, each as far as it says something.
        reasons: What was learned, and from whom, one line each; studies that count for nothing are named too.
    """

    recipes: tuple[Mapping[str, Scalar], ...]
    reasons: tuple[str, ...]


def learn(plan: Plan, relations: Sequence[Relation]) -> Learned:
    """Translates the best recipes of related studies into today's space; what they start from is one more.

    Recipes come in the order of w / (1 + p) for the study's weight w and the recipe's place p among its own. One that
    the trainer proposes anyway moves forward. A head alone is not learned where the first recipe is one: it fits many.

    Args:
        plan: The plan, its candidates narrowed and ordered.
        relations: How past studies relate to today's task.
    """
    related = sorted(relations, key=lambda relation: -relation.weight)
    reasons = [relation.reason for relation in related]
    useful = [r for r in related if r.weight > 0 and r.past.recipes and r.past.trainer == plan.trainer.name]
    ranked = sorted(
        ((r.weight / (1 + place), r.past.name, recipe) for r in useful for place, recipe in r.past.placed),
        key=lambda entry: -entry[0],
    )
    taken: list[Mapping[str, Scalar]] = []
    origins: list[str] = []
    for _, name, recipe in ranked:
        if len(taken) == MOST or (_is_head(recipe) and any(map(_is_head, plan.portfolio[:1]))):
            continue
        moved = translated(recipe, plan)
        known = next((own for own in plan.portfolio[1:] if own not in taken and _are_alike(moved, own, plan)), None)
        if known is not None or _is_new(moved, taken, plan):
            taken.append(moved if known is None else known)
            origins.append(name)
    if taken:
        counts = ", ".join(f"{origins.count(name)} of {name}" for name in dict.fromkeys(origins))
        reasons.append(f"recipes of past studies come first: {counts}")
    starts = {n: v for n in STARTS if n in plan.space and (v := _start(n, plan.space[n], useful)) is not None}
    if UNFREEZE in starts and _is_new(proposal := _with_backbone(starts, plan), taken, plan):
        taken.append(proposal)
        told = ", ".join(f"{n} {v:.2f}" if isinstance(v, float) else f"{n} {v}" for n, v in starts.items())
        reasons.append(f"{told}: where the best recipes of past studies lie, by their weights")
    return Learned(recipes=tuple(taken), reasons=tuple(reasons))


def translated(recipe: Mapping[str, Scalar], plan: Plan) -> dict[str, Scalar]:
    """A recipe moved into today's space: numbers to the nearest end, choices that there are not left out.

    A backbone that is no candidate today gives way to the first one.
    """
    return _with_backbone(plan.space.nearest(recipe), plan)


def _with_backbone(recipe: Mapping[str, Scalar], plan: Plan) -> dict[str, Scalar]:
    field = backbone_field(plan.trainer.recipe)
    dimension = None if field is None else plan.space.get(field)
    if field is None or field in recipe or not isinstance(dimension, Choice):
        return dict(recipe)
    return {field: dimension.values[0], **recipe}


def _is_new(recipe: Mapping[str, Scalar], taken: Sequence[Mapping[str, Scalar]], plan: Plan) -> bool:
    """Whether a recipe can be tried, and is none that is tried already, nearly."""
    whole = complete(recipe, plan.space, plan.trainer.recipe)
    try:
        plan.recipe(whole)
    except (AutotuneError, ValueError):
        return False  # a combination that the trainer's own checks refuse
    return not any(_are_alike(recipe, other, plan) for other in (*plan.portfolio, *taken))


def _are_alike(one: Mapping[str, Scalar], other: Mapping[str, Scalar], plan: Plan) -> bool:
    first, second = (complete(recipe, plan.space, plan.trainer.recipe) for recipe in (one, other))
    return all(_near(first[name], second[name], dimension) for name, dimension in plan.space.items())


def _is_head(recipe: Mapping[str, Scalar]) -> bool:
    """Whether a recipe trains nothing but the head."""
    return recipe.get("unfreeze", recipe.get(UNFREEZE)) == 0


def _near(one: Scalar, other: Scalar, dimension: Dimension) -> bool:
    if isinstance(dimension, Choice):
        return one == other
    return abs(position(dimension, float(one)) - position(dimension, float(other))) < NEAR


def _start(name: str, dimension: Dimension, useful: Sequence[Relation]) -> Scalar | None:
    """What the best recipes of related studies have for a hyperparameter: their mean, or most of their votes."""
    votes: dict[Scalar, float] = {}
    for relation in useful:
        first = relation.past.placed[0][0]
        best = [recipe.get(name) for place, recipe in relation.past.placed if place == first]
        for value in best:
            if value is not None and (not isinstance(dimension, Choice) or dimension.contains(value)):
                votes[value] = votes.get(value, 0.0) + relation.weight / (1 + first) / len(best)
    if not votes:
        return None
    if isinstance(dimension, Choice):
        return max(votes, key=lambda value: votes[value])
    numbers = {v: w for v, w in votes.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    total = sum(numbers.values())
    return clip(sum(v * w for v, w in numbers.items()) / total, dimension) if total else None
