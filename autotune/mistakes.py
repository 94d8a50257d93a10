"""One line for each mistake that a validation found: the place, the value, what would do, what was meant."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from autotune.errors import near_matches

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_WANTED = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "finite_number": "must be finite",
    "dict_type": "must be a table, e.g. [{place}] with a line key = value",
    "model_type": "must be a table, e.g. [{place}] with a line key = value",
    "tuple_type": "must be a name or a list of names in quotes, e.g. {place}=['a', 'b']",
    "list_type": "must be a list, e.g. {place}=['a', 'b']",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}


def lines_of(
    error: ValidationError, model: type[BaseModel], *, also: Mapping[str, str] | None = None
) -> dict[str, list[str]]:
    """Says every mistake of a validation in our own words.

    Args:
        error: What pydantic raised.
        model: What was validated; its fields are proposed for unknown keys.
        also: Remedies for unknown top-level keys that are known elsewhere; these are proposed too.

    Returns:
        Lines by the top-level key that they concern (``""`` for the whole), in order.
    """
    lines: dict[str, dict[str, None]] = {}
    for detail in error.errors(include_url=False):
        if detail["type"] == "too_short" and detail["input"]:
            continue  # pydantic counts the valid entries only, and the wrong ones are told anyway
        loc = _place(detail["loc"])
        line = _line(detail, loc, model, also or {})
        lines.setdefault(str(detail["loc"][0]) if loc else "", {}).setdefault(line)
    return {key: list(unique) for key, unique in lines.items()}


def say(place: str, value: object, complaint: str) -> str:
    """One line in the form that all mistakes share: ``place = value: complaint``."""
    return f"{place} = {show_value(value)}: {complaint}"


def show_value(value: object) -> str:
    """A value as one would write it in TOML, cut when long."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    text = str(value) if isinstance(value, datetime.date | datetime.time) else text
    return text if len(text) <= 60 else text[:57] + "..."


def _line(detail: ErrorDetails, loc: Sequence[str], model: type[BaseModel], also: Mapping[str, str]) -> str:
    place = ".".join(loc)
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = [*_fields_at(loc[:-1], model), *(also if len(loc) == 1 else ())]
        remedy = also.get(place) or near_matches(loc[-1], known)
        return f"{place}: no such key; {remedy}"
    if kind == "missing":
        description = model.model_fields[loc[-1]].description if loc[-1] in model.model_fields else None
        return f"{place}: is missing" + (f" ({description.rstrip('.')})" if description else "")
    if kind == "value_error":
        complaint = str(context["error"])
    elif kind == "literal_error":
        choices = _choices(loc, model)
        given = detail["input"]
        complaint = f"is unknown; {near_matches(given, choices)}" if isinstance(given, str) else _known(choices)
    elif kind in _WANTED:
        complaint = _WANTED[kind].format(place=place, **context)
    else:
        complaint = detail["msg"][:1].lower() + detail["msg"][1:]
    return say(place, detail["input"], complaint) if place else complaint


def _place(loc: Sequence[int | str]) -> list[str]:
    place: list[str] = []
    for part in loc:
        if isinstance(part, int) and place:
            place[-1] += f"[{part}]"
        else:
            place.append(str(part))
    return place


def _fields_at(loc: Sequence[str], model: type[BaseModel]) -> list[str]:
    for name in loc:
        inner = model.model_fields[name].annotation if name in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def _choices(loc: Sequence[str], model: type[BaseModel]) -> list[str]:
    annotation: Any = model.model_fields[loc[-1]].annotation if loc[-1] in model.model_fields else None
    return [str(value) for value in get_args(annotation)]


def _known(choices: Sequence[str]) -> str:
    return "must be one of " + ", ".join(choices)
