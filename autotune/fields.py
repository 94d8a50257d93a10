"""What a recipe's fields accept, and the dimensions that a study file makes of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from autotune.errors import UsageError, near_matches
from autotune.mistakes import lines_of, say
from autotune.space import Choice, Dimension, Float, Int, Scalar
from autotune.trainer import Recipe

R = TypeVar("R", bound=Recipe)

DIMENSION_KEYS = ("low", "high", "log", "step", "values")


def build_recipe(recipe: type[R], values: Mapping[str, object]) -> R:
    """A recipe from plain values, checked strictly (no text for numbers), defaults for the rest.

    Raises:
        pydantic.ValidationError: Some values are not allowed.
    """
    return recipe.model_validate_json(json.dumps(dict(values)), strict=True)


def field_problems(recipe: type[Recipe], values: Mapping[str, object]) -> dict[str, list[str]]:
    """What a recipe has against some of its values, by field (``""``: against their combination).

    Fields that are missing are no problem. Unknown names are left out.
    """
    known = {name: value for name, value in values.items() if name in recipe.model_fields}
    infinite = [n for n, v in known.items() if isinstance(v, float) and not math.isfinite(v)]
    problems = {n: [say(n, known.pop(n), "must be finite")] for n in infinite}
    try:
        build_recipe(recipe, known)
    except ValidationError as error:
        found = lines_of(error, recipe)
        problems |= {name: lines for name, lines in found.items() if name in known or name == ""}
    return problems


def normalised(recipe: type[Recipe], name: str, value: Scalar) -> Scalar:
    """A valid value in the field's own type: ``1`` becomes ``1.0`` where a float is declared."""
    kinds = field_types(recipe, name)
    return float(value) if float in kinds and int not in kinds and type(value) is int else value


def field_types(recipe: type[Recipe], name: str) -> tuple[Any, ...]:
    """The types that a field's annotation names, e.g. ``(int, NoneType)``."""
    annotation: Any = recipe.model_fields[name].annotation
    return get_args(annotation) or (annotation,)


def registry_of(recipe: type[Recipe], name: str) -> str | None:
    """Where a field takes its choices from, ``backbones`` or ``augmentations``, if it takes them from elsewhere."""
    marks = [mark for mark in recipe.model_fields[name].metadata if isinstance(mark, Choice)]
    return marks[0].registry if marks else None


def asked_dimension(
    recipe: type[Recipe],
    name: str,
    table: Mapping[str, object],
    old: Dimension | None,
    registries: Mapping[str, Sequence[str]],
) -> tuple[Dimension | None, list[str]]:
    """The dimension that ``[space.NAME]`` asks for.

    Args:
        recipe: The trainer's recipe.
        name: One of its fields.
        table: ``low``, ``high``, ``log``, ``step``, or ``values``.
        old: The dimension to change; None where the field has none so far.
        registries: Known names by registry.

    Returns:
        The dimension, or None and every reason against it, one line each.
    """
    place = f"space.{name}"
    problems = [
        f"{place}.{k}: no such key; {near_matches(k, DIMENSION_KEYS)}" for k in table if k not in DIMENSION_KEYS
    ]
    if not table:
        problems.append(f"{place}: is empty; give low and high, or values")
    if "values" in table and len(table) > 1:
        others = ", ".join(k for k in table if k != "values")
        problems.append(f"{place}: has both values and {others}; keep one of them")
    if problems:
        return None, problems
    if "values" in table:
        return _choice(recipe, name, table["values"], registries)
    return _range(recipe, name, table, old)


def _choice(
    recipe: type[Recipe], name: str, values: object, registries: Mapping[str, Sequence[str]]
) -> tuple[Dimension | None, list[str]]:
    place = f"space.{name}.values"
    if not isinstance(values, list | tuple) or not values:
        return None, [say(place, values, f"must be a list that is not empty, e.g. {place}=['a', 'b']")]
    problems: list[str] = []
    for value in values:
        if not isinstance(value, str | int | float):
            problems.append(say(place, value, "must be text, a number, true or false"))
            continue
        problems += [f"space.{line}" for line in value_problems(recipe, name, value, registries)]
    if problems:
        return None, problems
    marks = [mark for mark in recipe.model_fields[name].metadata if isinstance(mark, Choice)]
    unique = tuple(dict.fromkeys(normalised(recipe, name, v) for v in values))
    return Choice(unique, registry=marks[0].registry if marks else None), []


def value_problems(
    recipe: type[Recipe], name: str, value: Scalar, registries: Mapping[str, Sequence[str]]
) -> list[str]:
    """What speaks against one value of one field, the registry it draws from included; one line each."""
    problems = field_problems(recipe, {name: value}).get(name, [])
    registry = registry_of(recipe, name)
    if not problems and registry is not None and value not in registries.get(registry, (value,)):
        near = near_matches(str(value), sorted(registries[registry]))
        return [say(name, value, f"none of the {registry} is called so; {near}")]
    return problems


def _range(
    recipe: type[Recipe], name: str, table: Mapping[str, object], old: Dimension | None
) -> tuple[Dimension | None, list[str]]:
    place = f"space.{name}"
    kinds = field_types(recipe, name)
    whole = isinstance(old, Int) or (not isinstance(old, Float) and int in kinds and float not in kinds)
    if not whole and not isinstance(old, Float) and float not in kinds:
        return None, [f"{place}: this hyperparameter has no range; give {place}.values=[...]"]
    problems: list[str] = []
    changes: dict[str, Any] = {}
    for key, value in table.items():
        if key == "log":
            right, wanted = isinstance(value, bool), "must be true or false"
        elif whole:
            right, wanted = type(value) is int, "must be a whole number"
        else:
            right, wanted = type(value) in (int, float) and math.isfinite(value), "must be a number"  # type: ignore[arg-type]
        if not right:
            problems.append(say(f"{place}.{key}", value, wanted))
            continue
        changes[key] = float(value) if not whole and key != "log" else value  # type: ignore[arg-type]
        if key in ("low", "high"):
            lines = field_problems(recipe, {name: changes[key]}).get(name, [])
            problems += [f"{place}.{key}" + line.removeprefix(name) for line in lines]
    if not isinstance(old, Float | Int):
        problems += [f"{place}: needs low and high; {k} is missing" for k in ("low", "high") if k not in table]
    if problems:
        return None, problems
    try:
        if isinstance(old, Float | Int):
            return replace(old, **changes), []
        return (Int(**changes) if whole else Float(**changes)), []
    except UsageError as error:
        return None, [f"{place}: {error.message}"]


def as_table(dimension: Dimension) -> dict[str, Any]:
    """A dimension as the table that `asked_dimension` reads back to it."""
    if isinstance(dimension, Choice):
        return {"values": list(dimension.values)}
    table: dict[str, Any] = {"low": dimension.low, "high": dimension.high, "log": dimension.log}
    return table if dimension.step in (None, 1) else {**table, "step": dimension.step}


def only_value(dimension: Dimension) -> Scalar | None:
    """The value of a dimension that has one only, else None."""
    if isinstance(dimension, Choice):
        return dimension.values[0] if len(dimension.values) == 1 else None
    return dimension.low if dimension.low == dimension.high else None
