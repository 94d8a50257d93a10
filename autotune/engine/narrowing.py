"""Which candidates are searched, and in which order: by what was seen of them, by what is known of them besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autotune.checking import backbone_field
from autotune.durations import format_milliseconds
from autotune.relations import ranks
from autotune.space import Choice, Scalar
from autotune.trainer import Screening

if TYPE_CHECKING:
    from autotune.backbone import Backbone
    from autotune.plan import Plan

FEWEST = 2
"""Candidates that stay, whatever was seen of them."""
CLEARLY = 0.02
"""An accuracy that is this much lower is clearly lower, if chance alone does not explain it."""
CHEAPER = 0.8
"""A backbone is cheaper than another if it takes less than this share of its time."""
DEAR = 2.0
"""Among candidates that are as good, one that takes so many times as long as the cheapest comes after the others."""
SLOW = 0.2
"""Share of the time left that looking at every image once may take."""
BY_TIME = ((1800.0, 2), (10800.0, 4))
BY_TRIALS = ((20, 2), (100, 4))
MOST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A backbone that may be searched.

    Attributes:
        name: As recipes call it.
        screening: What was seen of it; None where it was not looked at.
        problem: Why it cannot be used, or why it was not looked at.
        failed: Whether it cannot be used.
        prior: How good it is where nothing is seen, 0 to 1.
        cost: A prior for what an image costs.
    """

    name: str
    screening: Screening | None = None
    problem: str = ""
    failed: bool = False
    prior: float = 0.5
    cost: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a candidate.

    Attributes:
        name: The candidate.
        kept: Whether it is searched.
        reason: One line for a person.
    """

    name: str
    kept: bool
    reason: str


def most_candidates(time: float | None, trials: int | None) -> int:
    """How many candidates a study has room for; the time decides, where there is one.

    Args:
        time: The study's time in seconds.
        trials: Its number of trials.
    """
    if time is not None:
        return next((most for end, most in BY_TIME if time < end), MOST)
    return next((most for end, most in BY_TRIALS if trials is not None and trials < end), MOST)


def priors(backbones: Mapping[str, Backbone], history: Mapping[str, float]) -> dict[str, float]:
    """How good each candidate is where nothing is seen: by past studies, and by published weights on ImageNet.

    Each says where the candidate stands among the others, from 0 to 1; where both do, the mean counts, and where
    neither does, a half.

    Args:
        backbones: The candidates.
        history: Where a backbone stood in past studies, 0 to 1.
    """
    published = {
        name: backbone.facts.imagenet
        for name, backbone in backbones.items()
        if backbone.facts.imagenet is not None and backbone.weights is not None and backbone.weights.source != "file"
    }
    standing = ranks(published)
    found = {}
    for name in backbones:
        known = [place[name] for place in (standing, history) if name in place]
        found[name] = sum(known) / len(known) if known else 0.5
    return found


def ordered(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best first: by what was seen, where that is within a standard error by the prior and the cost.

    Those that were not looked at come after those that were, those that failed last.
    """
    left = sorted(((c, c.screening) for c in candidates if c.screening is not None), key=lambda p: -p[1].score)
    found = []
    while left:
        best = left[0][1]
        tied = [(c, seen) for c, seen in left if best.score - seen.score <= best.error]
        dear = DEAR * min(seen.seconds for _, seen in tied)
        first = min(tied, key=lambda pair: (pair[1].seconds > dear, -pair[0].prior, pair[1].seconds))
        left.remove(first)
        found.append(first[0])
    rest = [c for c in candidates if c.screening is None]
    return found + sorted(rest, key=lambda c: (c.failed, -c.prior, c.cost))


def narrowed(candidates: Sequence[Candidate], *, most: int, images: int, left: float) -> list[Verdict]:
    """Leaves out candidates that are clearly worse without being cheaper, too slow, or too many; two always stay.

    Args:
        candidates: What was seen of each; one at least was looked at.
        most: How many there is room for.
        images: Images of the sides that trainers see.
        left: Seconds left for the search.

    Returns:
        A verdict on each, the candidate that is tried first coming first, those left out last.
    """
    order = ordered(candidates)
    room = max(most, FEWEST)
    out = _left_out(order, images=images, left=left)
    kept = [c.name for c in order if c.name not in out][:room]
    # Where too few are left, the best of those that were left out come back.
    back = [c.name for c in order if c.name in out][: max(0, FEWEST - len(kept))]
    tried = [*kept, *back]
    best = max((c.screening.score for c in order if c.name in tried and c.screening is not None), default=0.0)
    verdicts = []
    for candidate in sorted(order, key=lambda c: tried.index(c.name) if c.name in tried else len(tried)):
        name = candidate.name
        if name not in tried:
            told = f"left out: {out.get(name, f'there is room for {room} candidates')}"
        else:
            told = "kept" if name != tried[0] else f"tried first{_though(candidate, best)}"
            told += f", so that there are {FEWEST}, though {out[name]}" if name in back else ""
        verdicts.append(Verdict(name=name, kept=name in tried, reason=f"{_seen(candidate)}: {told}"))
    return verdicts


def _left_out(order: Sequence[Candidate], *, images: int, left: float) -> dict[str, str]:
    """Why candidates are better left out, by name."""
    out = {c.name: c.problem for c in order if c.failed}
    seen = {c.name: c.screening for c in order if c.screening is not None}
    quickest = min(look.seconds for look in seen.values())
    for name, look in seen.items():
        needed = look.seconds * images
        if needed > SLOW * left and look.seconds > quickest:
            out[name] = f"one look at all {images:,} images takes {needed:.0f} s of the {left:.0f} s left"
    best = max((look for name, look in seen.items() if name not in out), key=lambda look: look.score)
    chance = max(2 * best.error, CLEARLY)
    for name, look in seen.items():
        behind = best.score - look.score
        if behind > chance and look.seconds >= CHEAPER * best.seconds:
            out.setdefault(name, f"{behind:.3f} behind the best, of which {chance:.3f} may be chance, and no cheaper")
    return out


def with_candidates(plan: Plan, names: Sequence[str]) -> Plan:
    """The plan with some of its candidates: the first recipe is tried with each, the others with the first of them.

    Args:
        plan: The plan, which searches among candidates.
        names: Two of its candidates or more, the one to be tried first coming first.
    """
    field = backbone_field(plan.trainer.recipe)
    dimension = None if field is None else plan.space.get(field)
    if field is None or not isinstance(dimension, Choice):
        return plan
    kept = {name: plan.backbones[name] for name in names}
    weights = {name: backbone.weights.digest for name, backbone in kept.items() if backbone.weights}
    made = {**plan.config.made, "weights": weights}
    return replace(
        plan,
        backbones=kept,
        space=plan.space.changed(field, values=list(names)),
        portfolio=_moved(plan.portfolio, field, str(dimension.values[0]), names),
        config=plan.config.model_copy(update={"backbones": tuple(names), "made": made}),
    )


def _moved(
    portfolio: Sequence[Mapping[str, Scalar]], field: str, first: str, names: Sequence[str]
) -> tuple[Mapping[str, Scalar], ...]:
    bare = [{n: v for n, v in recipe.items() if n != field} for recipe in portfolio]
    others: list[dict[str, Scalar]] = []
    for recipe, rest in zip(portfolio, bare, strict=True):
        if rest != bare[0]:
            name = recipe.get(field, first)
            others.append({field: names[0] if name == first or name not in names else name, **rest})
    each: list[dict[str, Scalar]] = [{field: name, **rest} for rest in bare[:1] for name in names]
    return (*each, *others)


def _though(candidate: Candidate, best: float) -> str:
    """Why a candidate is tried first that did not do best: others are within a standard error."""
    look = candidate.screening
    if look is None or look.score >= best:
        return ""
    behind = best - look.score
    return f": {behind:.3f} behind the best may be chance, and what is known besides, or its cost, speaks for it"


def _seen(candidate: Candidate) -> str:
    look = candidate.screening
    if look is None:
        return candidate.name if candidate.failed else f"{candidate.name}: {candidate.problem}"
    scores = ", ".join(f"{name} {score:.3f}" for name, score in look.scores.items())
    return f"{candidate.name}: {scores}, {format_milliseconds(look.seconds)} an image"
