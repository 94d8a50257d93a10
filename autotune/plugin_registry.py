"""The registry behind `autotune.plugins.Plugins`: who is registered, what each offers, where two clash."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pluggy

from autotune import hookspecs
from autotune.errors import PluginError, UnknownName
from autotune.plugin_origins import BrokenPluginError, Origin, PluginWarning, is_strict
from autotune.plugin_records import KINDS, SINGULAR, Record, gather, hooks_of, name_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """One plugin, for listings.

    Attributes:
        name: Its entry point's name.
        distribution: What installed it; None for a plugin of this process only.
        version: That distribution's version.
        offers: Names by kind (``trainers``, ``backbones``, ...), and under ``hooks`` what else it implements.
        problem: Why it was skipped, or None.
    """

    name: str
    distribution: str | None
    version: str | None
    offers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str | None = None


class Registry:
    """Plugins that keep their contract, with their records, and the reasons why others were skipped."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("autotune")
        self._manager.add_hookspecs(hookspecs)
        self._origins: dict[int, Origin] = {}
        self._offers: dict[Origin, dict[str, tuple[str, ...]]] = {}
        self._problems: dict[Origin, str] = {}
        self._records: dict[str, dict[str, tuple[Record, Origin]]] = {kind: {} for kind in KINDS}
        self._clashes: dict[tuple[str, str], list[Origin]] = {}

    def add(self, plugin: object, origin: Origin) -> None:
        """Registers a plugin and takes its records, or leaves no trace of it.

        Raises:
            BrokenPluginError: It breaks its contract.
            PluginError: It offers a name that another one offers, and plugins are taken strictly.
        """
        if (twin := self._origins.get(id(plugin))) is not None:
            raise BrokenPluginError(f"is the same object as plugin {twin}")
        if origin in self._offers:
            raise BrokenPluginError("its name is taken by another plugin")
        try:
            self._manager.register(plugin, str(origin))
            hooks = hooks_of(plugin, self._manager)
            offers = gather(hooks)
        except (BrokenPluginError, pluggy.PluginValidationError) as error:
            if self._manager.is_registered(plugin):  # after a validation error: in pluggy 1.6, not in 1.7
                self._manager.unregister(plugin)
            if isinstance(error, BrokenPluginError):
                raise
            raise BrokenPluginError(" ".join(str(error).split())) from error
        self._origins[id(plugin)] = origin
        self._offers[origin] = {kind: tuple(named) for kind, named in offers.items() if named}
        if others := tuple(hook for hook, _ in hooks if hook.removeprefix("autotune_") not in KINDS):
            self._offers[origin]["hooks"] = others
        for kind, named in offers.items():
            for record in named.values():
                self._take(kind, record, origin)

    def skip(self, origin: Origin, problem: str) -> None:
        """Remembers why a plugin is not here."""
        self._problems[origin] = problem

    def complain(self, text: str, cause: BaseException | None = None) -> None:
        """Warns in one line, or raises where plugins are taken strictly."""
        if is_strict():
            raise PluginError(text, hint="unset AUTOTUNE_STRICT_PLUGINS to go on all the same") from cause
        self.warn(text)

    def warn(self, text: str) -> None:
        """Warns in one line."""
        warnings.warn(text, PluginWarning, stacklevel=2)

    def named(self, kind: str) -> dict[str, Any]:
        """The records of a kind by name, sorted; names that two plugins offer are left out."""
        return {name: self._records[kind][name][0] for name in sorted(self._records[kind])}

    def owned(self, kind: str) -> list[tuple[Any, Origin]]:
        """The records of a kind with the plugins that offer them."""
        return list(self._records[kind].values())

    def offers(self, kind: str, name: str) -> bool:
        """Whether any plugin offers a name, two that clash included."""
        return name in self._records[kind] or (kind, name) in self._clashes

    def find(self, kind: str, name: str) -> tuple[Any, Origin]:
        """The record of a name with the plugin that offers it.

        Raises:
            UnknownName: There is none; skipped plugins are named, for they might have offered it.
            PluginError: Two plugins offer it.
        """
        if (kind, name) in self._clashes:
            raise self._clash(kind, name)
        if name not in self._records[kind]:
            raise UnknownName(SINGULAR[kind], name, self._records[kind], also=self.skipped())
        return self._records[kind][name]

    def skipped(self) -> str | None:
        """Names the plugins that are not here, one a line, or None."""
        lines = [f"plugin {origin} was skipped: {problem}" for origin, problem in self._problems.items()]
        return "\n".join(lines) or None

    def asked(self, hook: str, arguments: Mapping[str, Any]) -> Iterator[tuple[Origin, Callable[[], Any]]]:
        """Every plugin that implements a hook, in pluggy's order, with a call that asks it."""
        for impl in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            values = [arguments[name] for name in impl.argnames]
            yield self._origins[id(impl.plugin)], functools.partial(impl.function, *values)

    def listing(self) -> list[PluginInfo]:
        """Every plugin by name, the skipped ones with their problem."""
        infos = [
            PluginInfo(
                name=origin.name,
                distribution=origin.distribution,
                version=origin.version,
                offers=MappingProxyType(self._offers.get(origin, {})),
                problem=self._problems.get(origin),
            )
            for origin in [*self._offers, *self._problems]
        ]
        return sorted(infos, key=lambda info: (info.name, info.distribution or ""))

    def _take(self, kind: str, record: Record, origin: Origin) -> None:
        name = name_of(record)
        if not self.offers(kind, name):
            self._records[kind][name] = (record, origin)
            return
        if (kind, name) not in self._clashes:
            self._clashes[kind, name] = [self._records[kind].pop(name)[1]]
        self._clashes[kind, name].append(origin)
        self.complain(self._clash(kind, name).message)

    def _clash(self, kind: str, name: str) -> PluginError:
        owners = self._clashes[kind, name]
        return PluginError(
            f"the {SINGULAR[kind]} {name!r} is offered by more than one plugin: " + " and ".join(map(str, owners)),
            hint=f"uninstall one, or switch it off: AUTOTUNE_DISABLE_PLUGINS={owners[-1].name}",
        )
