"""Whether a request means the study that already lies in a folder.

What was asked for decides, not what autotune chose: a study whose image size was chosen by a trainer is the same
study when somebody asks for it again without an image size, or with the size that was chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotune.config import FORMAT, StudyConfig, read_config, read_table
from autotune.errors import ConfigError, StudyError, UsageError
from autotune.mistakes import show_value

FILE = "study.toml"
# Totals and the machine may change on the way; the place of the data may too, its fingerprint may not.
_FREE = frozenset(
    {"format", "name", "data", "time", "trials", "device", "cache_size", "lease", "retries", "recipe", "made"}
)
_TABLES = ("fixed", "space", "limits", "splits")


def asked_of(config: StudyConfig) -> dict[str, Any]:
    """What was asked for, as far as it makes the study this one and no other; TOML types."""
    return {
        key: value
        for key, value in config.model_dump(mode="json", exclude_none=True).items()
        if key not in _FREE and value != {}
    }


def stored_config(folder: Path) -> StudyConfig | None:
    """The configuration of the study in a folder; None if there is no study, and a new one may begin.

    Raises:
        StudyError: The folder holds something else, or a study of a newer autotune, or a damaged one.
    """
    file = folder / FILE
    if not file.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StudyError(f"{folder}: exists and holds no study", hint="choose another folder: name=...")
        return None
    try:
        format_ = read_table(file).get("format")
        if type(format_) is int and format_ > FORMAT:
            raise StudyError(
                f"{folder}: the study was written by a newer autotune (format {format_}; this one reads {FORMAT})",
                hint="upgrade: pip install -U autotune-vision; or begin another study: name=...",
            )
        return read_config(file)
    except (ConfigError, UsageError) as error:
        raise StudyError(
            f"{folder}: its study.toml cannot be read\n{error.message}",
            hint="mend the file, or begin another study: name=...",
        ) from error


def differences(asked: StudyConfig, stored: StudyConfig) -> list[str]:
    """Where a request differs from the study in a folder, one line for each key; empty if it means that study."""
    new = _flat(_whole(asked_of(asked)))
    old = _flat(_whole(stored.made.get("asked", asked_of(stored))))
    made = _flat(_whole(asked_of(stored)))
    said = _flat(asked_of(asked))
    lines = []
    for key in dict.fromkeys([*old, *new]):
        if new.get(key) == old.get(key) or (key in said and new[key] == made.get(key)):
            continue
        there = _show(old, key) if key in old or key not in made else f"{_show(made, key)} (chosen by autotune)"
        lines.append(f"{key}: {there} there, {_show(new, key)} now")
    return lines


def _whole(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked with the defaults of all other keys."""
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in StudyConfig.model_fields.items()
        if name not in _FREE and not field.is_required()
    }
    defaults = {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items() if v is not None}
    defaults["splits"] = defaults["splits"].model_dump()
    whole = {**defaults, **asked}
    whole["splits"] = {**defaults["splits"], **asked.get("splits", {})}
    return whole


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """Tables spread out, so that each entry is compared by itself; a range stays one entry."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if key in _TABLES:
            flat.update({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            flat[key] = value
    return flat


def _show(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "not given"
    value = values[key]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k} = {show_value(v)}" for k, v in value.items()) + "}"
    return show_value(value)
