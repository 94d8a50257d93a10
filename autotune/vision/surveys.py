"""Facts of backbones, found once and kept.

Finding them builds a network on the meta device a few times, about a second each; they are kept in a json file in
autotune's cache folder. A source may also bring a file of the same form for one version of its library.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from autotune.backbone import Facts
from autotune.cache import cache_folder
from autotune.checkpoint import write_atomically

REVISION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What is known of one architecture.

    Attributes:
        facts: For users.
        options: Names of the keyword arguments, beside the number of classes, that its builder takes.
        head: Dotted names of the submodules that make up the head.
        resizes: Whether another image size needs building anew.
    """

    facts: Facts
    options: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    resizes: bool = False

    def to_json(self) -> dict[str, Any]:
        """As json types."""
        return {**asdict(self), "facts": asdict(self.facts)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Survey:
        """The inverse of `to_json`."""
        given = dict(values["facts"])
        for name in ("mean", "std"):
            given[name] = tuple(given[name])
        return cls(
            facts=Facts(**given),
            options=tuple(values["options"]),
            head=tuple(values["head"]),
            resizes=bool(values["resizes"]),
        )


class Surveys:
    """The surveys of one source, by name.

    Args:
        source: The source's prefix.
        version: The version of the library that has the architectures; another version's facts are not used.
        survey: Finds the facts of one name.
        shipped: A file that the source brings, used if it is of the same version.
    """

    def __init__(
        self, source: str, version: str, survey: Callable[[str], Survey], *, shipped: Path | None = None
    ) -> None:
        self._path = cache_folder() / f"facts-{source}-{version}-{REVISION}.json"
        self._survey = survey
        self._known: dict[str, Any] = {}
        if shipped is not None and shipped.exists():
            brought = json.loads(shipped.read_text())
            if brought["version"] == version and brought["revision"] == REVISION:
                self._known.update(brought["surveys"])
        self._known.update(self._read())

    def of(self, name: str) -> Survey:
        """The survey of one name; the first time it is found, then it is read."""
        if name not in self._known:
            self._known[name] = self._survey(name).to_json()
            self._keep(name)
        return Survey.from_json(self._known[name])

    def _keep(self, name: str) -> None:
        kept = {**self._read(), name: self._known[name]}
        content = json.dumps({"fields": _fields(), "surveys": kept}).encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, content)
        except OSError:
            # A cache that cannot be written costs a second a backbone, not the search.
            return

    def _read(self) -> dict[str, Any]:
        try:
            kept = json.loads(self._path.read_text())
            return dict(kept["surveys"]) if kept["fields"] == _fields() else {}
        except (OSError, ValueError, KeyError, TypeError):
            # Absent, or cut short by a full disk: found anew.
            return {}


def ship(path: Path, version: str, surveys: Mapping[str, Survey]) -> None:
    """Writes the file that a source brings, one line a name.

    Args:
        path: The file.
        version: The library's version.
        surveys: By name.
    """
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(s.to_json())}" for name, s in sorted(surveys.items()))
    head = f'"version": {json.dumps(version)}, "revision": {REVISION}, "surveys"'
    write_atomically(path, f"{{{head}: {{\n{lines}\n}}}}\n".encode())


def _fields() -> list[str]:
    return [field.name for field in fields(Facts)]
