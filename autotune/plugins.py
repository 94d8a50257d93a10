"""Plugins: found, loaded, checked and asked. Built-ins come through the same door as everybody's.

A plugin that breaks its contract is skipped with one warning line, and named again when somebody asks for a
name that it might have offered. ``AUTOTUNE_DISABLE_PLUGINS=a,b`` skips plugins, ``AUTOTUNE_STRICT_PLUGINS=1``
turns the warnings into errors.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeVar, cast

from autotune.backbone import BackboneSource, Facts
from autotune.data import Data, DataSource
from autotune.errors import AutotuneError, DataError, PluginError, near_matches
from autotune.plugin_origins import (
    BrokenPluginError,
    Origin,
    PluginWarning,
    find,
    import_plugin,
    one_line,
    unwanted,
)
from autotune.plugin_registry import PluginInfo, Registry
from autotune.space import Scalar, SearchSpace
from autotune.specs import (
    AugmentationSpec,
    BackboneSourceSpec,
    DataSourceSpec,
    ExporterSpec,
    LauncherSpec,
    TrainerSpec,
    WeightsSpec,
)

__all__ = ["Origin", "PluginInfo", "PluginWarning", "Plugins", "load_plugins", "register"]

S = TypeVar("S")

_registered: dict[str, object] = {}


def register(plugin: object, name: str | None = None) -> None:
    """Makes a plugin known to every search in this process, as if it were installed.

    For scripts and notebooks; a plugin that others should have is a package with an entry point.

    Args:
        plugin: A module or an object with functions marked ``@autotune.hookimpl``.
        name: What messages call it; by default the module's, or the type's, own name. A second plugin of
            the same name takes the place of the first, so that a notebook's cell can be run again.

    Raises:
        PluginError: It has an unknown hook or returns a wrong record.
    """
    name = name or _name(plugin)
    Plugins().register(plugin, name)
    _registered[name] = plugin


def load_plugins(extra: Iterable[object] = ()) -> Plugins:
    """Finds, imports and checks every installed plugin.

    Args:
        extra: Further plugins, for this call; named by their ``__name__`` or their type.

    Returns:
        The plugins that keep their contract. The others are listed with their problem.

    Raises:
        PluginError: One of `extra` is wrong, or any plugin under ``AUTOTUNE_STRICT_PLUGINS=1``.
    """
    registry = Registry()
    plugins = Plugins(registry)
    found = find()
    off, unknown = unwanted(f.origin for f in found)
    for name in unknown:
        near = near_matches(name, [f.origin.name for f in found])
        registry.complain(f"AUTOTUNE_DISABLE_PLUGINS: no plugin is called {name!r}; {near}")
    for one in found:
        if one.origin in off:
            registry.skip(one.origin, "disabled by AUTOTUNE_DISABLE_PLUGINS")
            continue
        try:
            registry.add(import_plugin(one), one.origin)
        except BrokenPluginError as error:
            registry.skip(one.origin, str(error))
            registry.complain(f"plugin {one.origin} is skipped: {error}", cause=error)
    for name, plugin in _registered.items():
        plugins.register(plugin, name)
    for plugin in extra:
        plugins.register(plugin, _name(plugin))
    return plugins


class Plugins:
    """The plugins of this process, by what they offer.

    Args:
        registry: Who is registered; an empty one by default.
    """

    def __init__(self, registry: Registry | None = None) -> None:
        self._registry = registry or Registry()
        self._sources: dict[str, BackboneSource] = {}

    @property
    def trainers(self) -> Mapping[str, TrainerSpec]:
        """Trainers by name; a name that two plugins offer is left out here, as below."""
        return MappingProxyType(self._registry.named("trainers"))

    @property
    def backbone_sources(self) -> Mapping[str, BackboneSourceSpec]:
        """Collections of backbones by prefix."""
        return MappingProxyType(self._registry.named("backbones"))

    @property
    def augmentations(self) -> Mapping[str, AugmentationSpec]:
        """Augmentation policies by name."""
        return MappingProxyType(self._registry.named("augmentations"))

    @property
    def launchers(self) -> Mapping[str, LauncherSpec]:
        """Ways to start workers by name."""
        return MappingProxyType(self._registry.named("launchers"))

    @property
    def exporters(self) -> Mapping[str, ExporterSpec]:
        """Formats to write a model in by name."""
        return MappingProxyType(self._registry.named("exporters"))

    @property
    def data_sources(self) -> Mapping[str, DataSourceSpec]:
        """Kinds of places that images come from by name."""
        return MappingProxyType(self._registry.named("data_sources"))

    def trainer(self, name: str) -> TrainerSpec:
        """The trainer of a name.

        Raises:
            UnknownName: There is none; skipped plugins are named, for they might have offered it.
            PluginError: Two plugins offer it.
        """
        return cast(TrainerSpec, self._registry.find("trainers", name)[0])

    def augmentation(self, name: str) -> AugmentationSpec:
        """The augmentation policy of a name; raises like `trainer`."""
        return cast(AugmentationSpec, self._registry.find("augmentations", name)[0])

    def launcher(self, name: str) -> LauncherSpec:
        """The launcher of a name; raises like `trainer`."""
        return cast(LauncherSpec, self._registry.find("launchers", name)[0])

    def exporter(self, name: str) -> ExporterSpec:
        """The exporter of a name; raises like `trainer`."""
        return cast(ExporterSpec, self._registry.find("exporters", name)[0])

    def backbone_source(self, prefix: str) -> BackboneSource:
        """The collection of backbones of a prefix, built once.

        Raises:
            UnknownName: There is none; skipped plugins are named.
            PluginError: Two plugins offer it, or it cannot be built.
        """
        if prefix not in self._sources:
            spec, origin = self._registry.find("backbones", prefix)
            with _blaming(origin, f"building the backbone source {prefix!r}"):
                source = spec.build()
            if not isinstance(source, BackboneSource):
                raise _no(source, "BackboneSource", origin, f"the backbone source {prefix!r}")
            self._sources[prefix] = source
        return self._sources[prefix]

    def weights(self, name: str) -> WeightsSpec | None:
        """The weights that a plugin offers for a backbone ``source/name``, or None.

        Raises:
            PluginError: Two plugins offer some.
        """
        if not self._registry.offers("weights", name):
            return None
        return cast(WeightsSpec, self._registry.find("weights", name)[0])

    def open_source(self, location: str) -> DataSource:
        """Opens the place that a person named, with the one data source that accepts it.

        Raises:
            DataError: None accepts it, or it cannot be used.
            PluginError: Two accept it, or its plugin breaks.
        """
        takers: list[tuple[DataSourceSpec, Origin]] = []
        for spec, origin in self._registry.owned("data_sources"):
            with _blaming(origin, f"asking the data source {spec.name!r} about {location!r}"):
                if spec.accepts(location):
                    takers.append((spec, origin))
        if not takers:
            raise self._nothing_accepts(location)
        if len(takers) > 1:
            raise PluginError(
                f"{location}: two data sources accept it: "
                + " and ".join(f"{spec.name!r} of plugin {origin}" for spec, origin in takers),
                hint=f"write ./{location} for a folder, or switch one plugin off: "
                f"AUTOTUNE_DISABLE_PLUGINS={takers[-1][1].name}",
            )
        spec, origin = takers[0]
        with _blaming(origin, f"opening {location!r} with the data source {spec.name!r}"):
            source = spec.open(location)
        if not isinstance(source, DataSource):
            raise _no(source, "DataSource", origin, f"what the data source {spec.name!r} opens")
        return source

    def search_space(self, trainer: TrainerSpec, backbones: Sequence[Facts], data: Data) -> SearchSpace | None:
        """The space that a plugin decides on, or None where none does.

        Raises:
            PluginError: Two plugins answer, or an answer is wrong.
        """
        answers: list[tuple[SearchSpace, Origin]] = []
        hook = "autotune_search_space"
        for origin, ask in self._registry.asked(hook, {"trainer": trainer, "backbones": backbones, "data": data}):
            with _blaming(origin, hook):
                answer = ask()
            if answer is None:
                continue
            if not isinstance(answer, SearchSpace):
                raise _no(answer, "SearchSpace", origin, f"the answer of {hook}")
            if unknown := [n for n in answer if n not in trainer.recipe.model_fields]:
                raise PluginError(
                    f"plugin {origin}: {hook} names {unknown[0]!r}, "
                    f"which is no hyperparameter of the trainer {trainer.name!r}",
                    hint=near_matches(unknown[0], list(trainer.recipe.model_fields)),
                )
            answers.append((answer, origin))
        if len(answers) > 1:
            raise PluginError(
                "two plugins decide the search space: " + " and ".join(str(origin) for _, origin in answers),
                hint=f"switch one off: AUTOTUNE_DISABLE_PLUGINS={answers[-1][1].name}",
            )
        return answers[0][0] if answers else None

    def warm_starts(self, trainer: TrainerSpec, space: SearchSpace, data: Data) -> list[dict[str, Scalar]]:
        """The recipes that plugins propose to try first; those outside the space are dropped with a warning."""
        hook = "autotune_warm_start"
        good: list[dict[str, Scalar]] = []
        for origin, ask in self._registry.asked(hook, {"trainer": trainer, "space": space, "data": data}):
            try:
                proposals = list(ask() or ())
            except Exception as error:
                self._registry.complain(f"plugin {origin}: {hook} raises {one_line(error)}", cause=error)
                continue
            for proposal in proposals:
                if problem := _outside(proposal, space):
                    self._registry.complain(f"plugin {origin}: {hook}: {proposal!r} is dropped: {problem}")
                else:
                    good.append(dict(proposal))
        return good

    def notify(self, hook: str, **arguments: Any) -> None:
        """Tells every observer; one that raises is warned about and stops nothing."""
        for origin, tell in self._registry.asked(hook, arguments):
            try:
                tell()
            except (Exception, SystemExit) as error:
                self._registry.warn(f"plugin {origin}: {hook} raises {one_line(error)}; the search goes on")

    def register(self, plugin: object, name: str) -> None:
        """Adds a plugin to these, e.g. a live display.

        Raises:
            PluginError: It has an unknown hook or returns a wrong record.
        """
        origin = Origin(name=name)
        try:
            self._registry.add(plugin, origin)
        except BrokenPluginError as error:
            raise PluginError(f"plugin {origin}: {error}") from error

    def listing(self) -> list[PluginInfo]:
        """Every plugin by name, the skipped ones with their problem."""
        return self._registry.listing()

    def _nothing_accepts(self, location: str) -> DataError:
        specs = self.data_sources
        near = near_matches(location, list(specs))
        lines = [f"{spec.name}: {spec.summary}" for spec in specs.values()] or ["no data source is installed"]
        hint = [near if near.startswith("did") else None, *lines, self._registry.skipped()]
        missing = "" if os.path.exists(location) else "there is no such file or folder, and "
        return DataError(f"{location}: {missing}no data source accepts it", hint="\n".join(filter(None, hint)))


@contextmanager
def _blaming(origin: Origin, what: str) -> Iterator[None]:
    """Turns a plugin's unexpected exception into an error that names it."""
    try:
        yield
    except AutotuneError:
        raise
    except Exception as error:
        raise PluginError(f"plugin {origin}: {what} raises {one_line(error)}") from error


def _no(value: object, wanted: str, origin: Origin, what: str) -> PluginError:
    return PluginError(f"plugin {origin}: {what} is {value!r}, no {wanted}")


def _outside(proposal: object, space: SearchSpace) -> str | None:
    """Why a proposal cannot be tried, or None."""
    if not isinstance(proposal, Mapping):
        return "it is no mapping of names to values"
    if unknown := [name for name in proposal if name not in space]:
        return f"{unknown[0]!r} is not searched"
    for name, value in space.misfits(proposal).items():
        return f"{name}={value!r} is outside {space[name]}"
    return None


def _name(plugin: object) -> str:
    return str(getattr(plugin, "__name__", None) or type(plugin).__name__)
