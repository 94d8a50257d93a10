"""What is said beside a study file: ``key=value`` and named values, merged over the file's tables."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel

from autotune.mistakes import show_value


class Wishes:
    """Collects keys and values that take precedence over a file's.

    Args:
        model: The record whose fields are the known keys.
        shortcuts: Names that may be written without ``fixed.``; None takes any unknown name with a plain value
            for one, since it cannot be told yet.

    Attributes:
        problems: One line for each mistake so far.
    """

    def __init__(self, model: type[BaseModel], shortcuts: Sequence[str] | None) -> None:
        self._fields = model.model_fields
        self._shortcuts = shortcuts
        self._said: dict[tuple[str, ...], tuple[Any, str]] = {}
        self.problems: list[str] = []

    def add(self, assignments: Sequence[str], values: Mapping[str, Any]) -> None:
        """Takes values by key, then assignments as they were typed."""
        for key, value in values.items():
            if value is not None:
                self._say(key, value, f"{key}={show_value(value)}")
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            key = key.strip()
            if not equals or not all(part.strip() for part in key.split(".")):
                self.problems.append(f"{assignment!r}: write key=value, e.g. time=15m or fixed.lr=0.001")
                continue
            self._say(key, self._parsed(key, text.strip()), assignment)

    def over(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        """The file's tables with everything said put over them; the given tables stay as they are."""
        merged = _copy(tables)
        self._make_way(merged)
        for place, (value, said) in self._said.items():
            table = merged
            for part in place[:-1]:
                inner = table.setdefault(part, {})
                if not isinstance(inner, dict):
                    self.problems.append(f"{said}: {part} is {show_value(inner)} and no table")
                    break
                table = inner
            else:
                table[place[-1]] = value
        return merged

    def _make_way(self, tables: dict[str, Any]) -> None:
        """A range that is said takes the place of the file's values, and values that of its range."""
        ranges = tables.get("space")
        for place in self._said:
            if place[0] != "space" or len(place) != 3 or not isinstance(ranges, dict):
                continue
            table = ranges.get(place[1])
            if isinstance(table, dict):
                other = [key for key in table if (key == "values") != (place[2] == "values")]
                for key in other:
                    del table[key]

    def _say(self, key: str, value: Any, said: str) -> None:
        parts = tuple(part.strip() for part in key.split("."))
        if parts[0] not in self._fields and len(parts) == 1 and not isinstance(value, dict | list | tuple):
            shortcut = self._shortcuts is None or parts[0] in self._shortcuts
            parts = ("fixed", *parts) if shortcut else parts
        for place, leaf in _leaves(parts, value):
            old = self._said.get(place)
            if old is not None and old[0] != leaf:
                self.problems.append(f"{'.'.join(place)}: said twice, {old[1]} and {said}; keep one")
            self._said[place] = (leaf, said)

    def _parsed(self, key: str, text: str) -> Any:
        """The value in TOML's notation, else the bare text; text for keys that take nothing else."""
        try:
            table = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            return text
        if set(table) != {"value"}:
            return text
        value = table["value"]
        field = self._fields.get(key)
        kinds = () if field is None else get_args(field.annotation) or (field.annotation,)
        # A key that takes text or a list of texts, as ``data`` does, takes a bare number for text too.
        single = [kind for kind in kinds if kind not in (NoneType, tuple[str, ...])]
        only_text = bool(single) and all(kind is str or isinstance(kind, str) for kind in single)
        if isinstance(value, datetime.date | datetime.time):
            return text
        return text if only_text and not isinstance(value, str | list | dict) else value


def _leaves(place: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves((*place, str(key)), inner)
    else:
        yield place, value


def _copy(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in table.items()}
