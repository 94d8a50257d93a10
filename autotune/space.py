"""Ranges of hyperparameters, and the space that they span.

A recipe declares each hyperparameter once, with default, check and range; `SearchSpace.of` reads the ranges.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, TypeAlias, get_args, get_origin

from pydantic import BaseModel

from autotune.errors import UnknownName, UsageError

Scalar: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Float:
    """A real number between `low` and `high`, both included; `log` samples its logarithm uniformly."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log)
        if self.step is not None and (self.log or self.step <= 0):
            raise UsageError(f"step={self.step} must be positive and without log")

    def contains(self, value: object) -> bool:
        """Whether a value lies in the range (a tolerance of rounding included)."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        slack = 1e-9 * max(abs(self.low), abs(self.high))
        return self.low - slack <= value <= self.high + slack

    def nearest(self, number: float) -> float:
        """The number of this range, and of its steps, that is nearest to another one."""
        inside = min(max(number, self.low), self.high)
        if self.step is None:
            return float(inside)
        last = math.floor((self.high - self.low) / self.step + 1e-9)
        steps = min(round((inside - self.low) / self.step), last)
        return float(Decimal(str(self.low)) + steps * Decimal(str(self.step)))


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number between `low` and `high`, both included."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log)
        if self.step < 1 or (self.log and self.step != 1):
            raise UsageError(f"step={self.step} must be at least 1, and 1 with log")

    def contains(self, value: object) -> bool:
        """Whether a value is one of the range's numbers."""
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def nearest(self, number: float) -> int:
        """The number of this range, and of its steps, that is nearest to another one."""
        inside = min(max(number, self.low), self.high)
        steps = min(round((inside - self.low) / self.step), (self.high - self.low) // self.step)
        return self.low + steps * self.step


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values.

    Args:
        values: The values; empty takes those of the field's ``Literal``.
        registry: Where the values come from when it is not the field itself: ``backbones`` or ``augmentations``.
    """

    values: tuple[Scalar, ...] = ()
    registry: Literal["backbones", "augmentations"] | None = None

    def contains(self, value: object) -> bool:
        """Whether a value is one of the choices (of the same type: ``True`` is not ``1``)."""
        return any(value == v and type(value) is type(v) for v in self.values)


Dimension: TypeAlias = Float | Int | Choice


class SearchSpace(Mapping[str, Dimension]):
    """Names and their dimensions, in the order of the recipe's fields. Immutable.

    Args:
        dimensions: The dimensions by name.
    """

    def __init__(self, dimensions: Mapping[str, Dimension]) -> None:
        self._dimensions = dict(dimensions)

    @classmethod
    def of(cls, recipe: type[BaseModel], **registries: Sequence[str]) -> SearchSpace:
        """Reads the space that a recipe's annotations declare.

        Args:
            recipe: A subclass of `autotune.Recipe`.
            registries: The values for each registry that a `Choice` names; a dimension
                whose registry is not given, or is empty, is left out.
        """
        found: dict[str, Dimension] = {}
        for name, field in recipe.model_fields.items():
            for mark in field.metadata:
                if isinstance(mark, Choice) and mark.registry is not None:
                    if values := tuple(registries.get(mark.registry, ())):
                        found[name] = replace(mark, values=values)
                elif isinstance(mark, Choice) and not mark.values:
                    if get_origin(field.annotation) is not Literal:
                        raise UsageError(f"{recipe.__name__}.{name}: Choice() without values needs a Literal")
                    found[name] = replace(mark, values=get_args(field.annotation))
                elif isinstance(mark, (Float, Int, Choice)):
                    found[name] = mark
        return cls(found)

    def __getitem__(self, name: str) -> Dimension:
        try:
            return self._dimensions[name]
        except KeyError:
            raise UnknownName("hyperparameter", name, self._dimensions) from None

    def get(self, name: str, default: Any = None) -> Any:
        """The dimension of a name, or the default where there is none."""
        return self._dimensions.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._dimensions

    def __iter__(self) -> Iterator[str]:
        return iter(self._dimensions)

    def __len__(self) -> int:
        return len(self._dimensions)

    def __repr__(self) -> str:
        return f"SearchSpace({self._dimensions!r})"

    def without(self, *names: str) -> SearchSpace:
        """The space with some hyperparameters fixed elsewhere."""
        return SearchSpace({n: d for n, d in self.items() if n not in names})

    def changed(self, name: str, **changes: Any) -> SearchSpace:
        """The space with one dimension narrowed or widened, e.g. ``changed("lr", high=0.01)``.

        Raises:
            UnknownName: No such hyperparameter, or its dimension has no such key.
            UsageError: The range is impossible.
        """
        old = self[name]
        fields = old.__dataclass_fields__
        for key in changes:
            if key not in fields or key == "registry":
                raise UnknownName(f"key of space.{name}", key, [f for f in fields if f != "registry"])
        if "values" in changes:
            changes["values"] = tuple(changes["values"])
            if not changes["values"]:
                raise UsageError(f"space.{name}.values is empty")
        try:
            new = replace(old, **changes)
        except UsageError as error:
            raise UsageError(f"space.{name}: {error.message}", hint=error.hint) from None
        return SearchSpace({**self._dimensions, name: new})

    def misfits(self, values: Mapping[str, object]) -> dict[str, object]:
        """The given values that lie outside the space, by name; names outside the space are no misfits."""
        return {n: v for n, v in values.items() if n in self and not self[n].contains(v)}

    def nearest(self, values: Mapping[str, object]) -> dict[str, Scalar]:
        """A recipe moved into this space: each number to the nearest one that the space has.

        Left out are choices that the space does not offer, numbers that are none, and names that it does not search.
        """
        moved: dict[str, Scalar] = {}
        for name, dimension in self.items():
            value = values.get(name)
            if isinstance(dimension, Choice):
                if isinstance(value, Scalar) and dimension.contains(value):
                    moved[name] = value
            elif isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value):
                moved[name] = dimension.nearest(value)
        return moved


def _check_range(low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError(f"low={low}, high={high}: both must be finite")
    if low > high:
        raise UsageError(f"low={low} is above high={high}")
    if log and low <= 0:
        raise UsageError(f"low={low} must be above 0 on a log scale")
