"""The recipes of a batch: drawn from the space around its first one, and equal to it in what a batch shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from autotune.engine.suggest import clip
from autotune.errors import AutotuneError, PluginError
from autotune.space import Choice, Dimension, Float, Int, Scalar
from autotune.specs import TrainerSpec
from autotune.trainer import Recipe

if TYPE_CHECKING:
    from autotune.plan import Plan

MOST = 64
"""Recipes in a batch, whatever the trainer would take."""
FULL = 3600.0
"""Seconds of a study's time from which a batch is as large as it may be; shorter studies take a share of it."""
NEAR = 0.125
"""How far from the first recipe its neighbours lie at most, as a share of each range."""


@dataclass(frozen=True, slots=True)
class Member:
    """A recipe of a batch.

    Attributes:
        sampled: What was drawn of it.
        recipe: All of it, resolved.
    """

    sampled: Mapping[str, Scalar]
    recipe: Recipe


def batch_size(spec: TrainerSpec, recipe: Recipe) -> int:
    """How many recipes are trained together with one, itself included.

    Raises:
        PluginError: The trainer's function raises, or returns no number.
    """
    if not callable(spec.batch):
        return min(spec.batch, MOST)
    try:
        size = spec.batch(recipe)
    except AutotuneError:
        raise
    except Exception as error:
        raise PluginError(f"trainer {spec.name!r}: batch raised {type(error).__name__}: {error}") from error
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise PluginError(f"trainer {spec.name!r}: batch returned {size!r}, not a whole number from 1")
    return min(size, MOST)


def draw(plan: Plan, sampled: Mapping[str, Scalar], recipe: Recipe, *, seed: int) -> tuple[Member, ...]:
    """The further recipes of a batch; none where the trainer takes one at a time, or nothing is left to vary.

    Half of them are spread evenly over the space, half lie near the first one. Left out are those that the recipe's
    checks refuse, that come again, or that could not be trained together with the first.

    Args:
        plan: The study's plan.
        sampled: What was sampled of the first recipe.
        recipe: The first recipe, resolved.
        seed: The same seed draws the same recipes.

    Raises:
        PluginError: The trainer cannot say how many it takes.
    """
    spec, most = plan.trainer, batch_size(plan.trainer, recipe)
    if plan.config.time is not None:
        most = max(1, min(most, round(MOST * plan.config.time / FULL)))
    names = [name for name in plan.space if name in sampled and name not in spec.same]
    if most < 2 or not names:
        return ()
    found: list[Member] = []
    known = [dict(sampled)]
    for i, point in enumerate(even_points(most - 1, len(names), seed=seed)):
        values = dict(sampled)
        for name, share in zip(names, point, strict=True):
            values[name] = _value(plan.space[name], float(share), near=sampled[name] if i % 2 else None)
        if values in known:
            continue
        known.append(values)
        try:
            other = plan.recipe(values)
        except (AutotuneError, ValueError):
            continue  # a combination that the trainer's own checks refuse
        if all(getattr(other, f) == getattr(recipe, f) for f in spec.same) and batch_size(spec, other) > 1:
            found.append(Member(values, other))
    return tuple(found)


def even_points(count: int, size: int, *, seed: int) -> npt.NDArray[np.float64]:
    """Points [count, size] in the unit cube that lie more evenly than random ones.

    An additive recurrence with powers of the generalised golden ratio, from a random start (M. Roberts, "The
    Unreasonable Effectiveness of Quasirandom Sequences", 2018, extremelearning.com.au).
    """
    ratio = 2.0
    for _ in range(64):
        ratio = (1 + ratio) ** (1 / (size + 1))
    steps = ratio ** -np.arange(1.0, size + 1)
    start = np.random.default_rng(seed).random(size)
    points: npt.NDArray[np.float64] = (start + np.arange(1, count + 1)[:, None] * steps) % 1.0
    return points


def _value(dimension: Dimension, share: float, *, near: Scalar | None) -> Scalar:
    """A value of a dimension: at a share of its range, or near another value; a choice has no neighbours."""
    if isinstance(dimension, Choice):
        return near if near is not None else dimension.values[int(share * len(dimension.values))]
    if near is not None and isinstance(near, (int, float)) and dimension.high > dimension.low:
        share = abs(position(dimension, float(near)) + (2 * share - 1) * NEAR)
        share = 2 - share if share > 1 else share
    if dimension.log:
        return clip(dimension.low * (dimension.high / dimension.low) ** share, dimension)
    half = dimension.step / 2 if isinstance(dimension, Int) else 0.0  # so that the ends come as often as others
    return clip(dimension.low - half + (dimension.high - dimension.low + 2 * half) * share, dimension)


def position(dimension: Float | Int, value: float) -> float:
    """Where a number lies in its range, from 0 to 1."""
    low, high = dimension.low, dimension.high
    share = math.log(value / low) / math.log(high / low) if dimension.log else (value - low) / (high - low)
    return min(max(share, 0.0), 1.0)
