"""Where plugins come from: entry points, or an object that somebody registered in this process."""

from __future__ import annotations

import importlib.metadata
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass

GROUP = "autotune"
IMPORT_SECONDS = 5.0


class PluginWarning(UserWarning):
    """A plugin was skipped, or something that it did was ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A plugin and what installed it.

    Attributes:
        name: The entry point's name, or the one given when it was registered.
        distribution: The installed package, or None for a plugin of this process only.
        version: The package's version.
    """

    name: str
    distribution: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        if self.distribution is None:
            return f"{self.name} (registered in this process)"
        return f"{self.name} ({self.distribution} {self.version})"

    def is_called(self, name: str) -> bool:
        """Whether a person may mean this plugin, or its distribution, by a name."""
        return _normal(name) in {_normal(self.name), _normal(self.distribution or self.name)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An entry point before it is imported."""

    origin: Origin
    entry: importlib.metadata.EntryPoint


class BrokenPluginError(Exception):
    """A plugin breaks its contract; the message says how in one line, without the plugin's name."""


def find() -> list[Found]:
    """The installed entry points, in an order that does not depend on how they were installed."""
    found = []
    for entry in importlib.metadata.entry_points(group=GROUP):
        dist = entry.dist
        origin = Origin(
            name=entry.name,
            distribution=dist.name if dist else "unknown distribution",
            version=dist.version if dist else "?",
        )
        found.append(Found(origin=origin, entry=entry))
    return sorted(found, key=lambda f: (f.origin.name, f.origin.distribution or ""))


def import_plugin(found: Found) -> object:
    """Imports a plugin, for at most `IMPORT_SECONDS`.

    The import runs in a thread of its own, since an import that waits, e.g. for a network, cannot be ended
    in any other way than by going on without it.

    Raises:
        BrokenPluginError: It raised, or did not end in time.
    """
    plugins: list[object] = []
    errors: list[BaseException] = []

    def load() -> None:
        try:
            plugins.append(found.entry.load())
        except BaseException as error:  # a module may call sys.exit
            errors.append(error)

    thread = threading.Thread(target=load, name=f"import of plugin {found.origin.name}", daemon=True)
    thread.start()
    thread.join(IMPORT_SECONDS)
    if errors:
        raise BrokenPluginError(f"cannot be imported: {one_line(errors[0])}") from errors[0]
    if not plugins:
        raise BrokenPluginError(
            f"takes over {IMPORT_SECONDS:g} s to import; its author should import what is slow inside functions"
        )
    return plugins[0]


def unwanted(origins: Iterable[Origin]) -> tuple[set[Origin], list[str]]:
    """Which plugins ``AUTOTUNE_DISABLE_PLUGINS`` switches off, and the names in it that fit none."""
    names = [n.strip() for n in os.environ.get("AUTOTUNE_DISABLE_PLUGINS", "").split(",") if n.strip()]
    origins = list(origins)
    off = {o for o in origins if any(o.is_called(n) for n in names)}
    return off, [n for n in names if not any(o.is_called(n) for o in origins)]


def is_strict() -> bool:
    """Whether ``AUTOTUNE_STRICT_PLUGINS`` asks for an error instead of a warning."""
    return os.environ.get("AUTOTUNE_STRICT_PLUGINS", "").strip().lower() not in ("", "0", "false", "no")


def one_line(error: BaseException) -> str:
    """An exception as one line: its type and the first line of its text."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
