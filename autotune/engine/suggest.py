"""From our search space to Optuna's distributions and back."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from autotune.errors import StudyError
from autotune.space import Choice, Dimension, Int, Scalar, SearchSpace


def distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's distribution for a dimension; a stepped range ends at its last step."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    if isinstance(dimension, Int):
        high = dimension.high - (dimension.high - dimension.low) % dimension.step
        return IntDistribution(dimension.low, high, log=dimension.log, step=dimension.step)
    if dimension.step is None:
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    low, step = Decimal(str(dimension.low)), Decimal(str(dimension.step))
    last = (Decimal(str(dimension.high)) - low) // step * step + low
    return FloatDistribution(float(dimension.low), float(last), step=dimension.step)


def suggest(trial: optuna.Trial, space: SearchSpace) -> dict[str, Scalar]:
    """A value for every hyperparameter of the space.

    Raises:
        StudyError: The choices of a hyperparameter are no longer those that the study began with.
    """
    values: dict[str, Scalar] = {}
    for name, dimension in space.items():
        if isinstance(dimension, Choice):
            values[name] = trial.suggest_categorical(name, list(dimension.values))  # type: ignore[assignment]
        elif isinstance(dimension, Int):
            told = distribution(dimension)
            values[name] = trial.suggest_int(name, told.low, told.high, log=told.log, step=told.step)  # type: ignore[attr-defined]
        else:
            told = distribution(dimension)
            values[name] = trial.suggest_float(name, told.low, told.high, log=told.log, step=told.step)  # type: ignore[attr-defined]
    return values


def check_space(space: SearchSpace, trials: list[optuna.trial.FrozenTrial], where: object) -> None:
    """Checks that the space still fits the trials that a study already has.

    Raises:
        StudyError: A hyperparameter has changed its kind or its choices.
    """
    known: dict[str, BaseDistribution] = {}
    for trial in trials:
        known.update(trial.distributions)
    for name, dimension in space.items():
        if name not in known:
            continue
        try:
            check_distribution_compatibility(known[name], distribution(dimension))
        except ValueError as error:
            old = known[name]
            was = list(old.choices) if isinstance(old, CategoricalDistribution) else type(old).__name__
            now = list(dimension.values) if isinstance(dimension, Choice) else type(dimension).__name__
            raise StudyError(
                f"{where}: the study began with {name} out of {was}, now it is {now}",
                hint="restore space." + name + ", or begin another study: name=...",
            ) from error


def complete(values: Mapping[str, Scalar], space: SearchSpace, recipe: type[BaseModel]) -> dict[str, Scalar]:
    """A whole point of the space: what is missing takes the recipe's default, everything is clipped into the space.

    Args:
        values: Some of the space's hyperparameters; others are left out.
        space: The search space.
        recipe: Where the defaults stand; without one, a dimension's first value or lower end is taken.
    """
    whole: dict[str, Scalar] = {}
    for name, dimension in space.items():
        value: object = values.get(name)
        if value is None and name in recipe.model_fields:
            default = recipe.model_fields[name].get_default(call_default_factory=True, validated_data={})
            value = None if default is PydanticUndefined else default
        whole[name] = clip(value, dimension)
    return whole


def clip(value: object, dimension: Dimension) -> Scalar:
    """The value of a dimension that is nearest to a wish; its first value or lower end without a usable wish."""
    if isinstance(dimension, Choice):
        return value if dimension.contains(value) else dimension.values[0]  # type: ignore[return-value]
    usable = isinstance(value, (int, float)) and not isinstance(value, bool)
    return dimension.nearest(value if usable else dimension.low)  # type: ignore[arg-type]
