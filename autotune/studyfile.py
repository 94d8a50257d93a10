"""``study.toml`` as autotune writes it: commented, complete, and read back to an equal configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Array, Item, Table

from autotune.byte_sizes import format_bytes, parse_bytes
from autotune.checkpoint import write_atomically
from autotune.config import StudyConfig
from autotune.durations import format_duration, parse_duration
from autotune.identity import FILE

_HEAD = (
    "A study of autotune: what was asked, completed by what was chosen.",
    "`autotune search` with this file, or with the words it began with, goes on. time and trials may be raised.",
)
_TABLES = ("limits", "fixed", "space", "splits", "made")


def write_study_file(folder: Path, config: StudyConfig) -> None:
    """Writes the file into a study's folder, atomically."""
    write_atomically(folder / FILE, study_text(config).encode())


def study_text(config: StudyConfig) -> str:
    """The file's text."""
    document = tomlkit.document()
    for line in _HEAD:
        document.add(tomlkit.comment(line))
    values = config.model_dump(mode="json", exclude_none=True)
    for key, field in StudyConfig.model_fields.items():
        if key in _TABLES:
            continue
        document.add(tomlkit.nl())
        document.add(tomlkit.comment(field.description or key))
        if key in values:
            document.add(key, _WRITTEN.get(key, _item)(values[key]))
        else:
            document.add(tomlkit.comment(f"{key} is not set"))
    for key in _TABLES:
        if values.get(key):
            document.add(tomlkit.nl())
            document.add(tomlkit.comment(StudyConfig.model_fields[key].description or key))
            document.add(key, _table(values[key]))
    return tomlkit.dumps(document)


def _duration(seconds: float) -> Item:
    text = format_duration(seconds)
    return tomlkit.item(text if parse_duration(text) == seconds else seconds)


def _bytes(nbytes: int) -> Item:
    text = format_bytes(nbytes)
    return tomlkit.item(text if parse_bytes(text) == nbytes else nbytes)


_WRITTEN: dict[str, Callable[[Any], Item]] = {"time": _duration, "lease": _duration, "cache_size": _bytes}


def _table(values: Mapping[str, Any]) -> Table:
    table = tomlkit.table()
    for key, value in values.items():
        # A table inside [made] and [space] gets its own header; deeper ones stay on one line.
        table.add(key, _table(value) if isinstance(value, Mapping) and value else _item(value))
    return table


def _item(value: Any) -> Item:
    if isinstance(value, Mapping):
        inline = tomlkit.inline_table()
        inline.update(value)
        return inline
    item: Item = tomlkit.item(value)
    if isinstance(item, Array) and len(item.as_string()) > 90:
        item.multiline(True)
    return item
