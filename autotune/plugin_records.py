"""What plugins offer: calling a plugin's provider hooks and checking every record that they return."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import pluggy

from autotune.errors import AutotuneError, near_matches
from autotune.plugin_origins import BrokenPluginError, one_line
from autotune.space import SearchSpace
from autotune.specs import (
    AugmentationSpec,
    BackboneSourceSpec,
    DataSourceSpec,
    ExporterSpec,
    LauncherSpec,
    TrainerSpec,
    WeightsSpec,
)
from autotune.trainer import Recipe

Record: TypeAlias = (
    TrainerSpec | BackboneSourceSpec | WeightsSpec | DataSourceSpec | AugmentationSpec | LauncherSpec | ExporterSpec
)

KINDS: Mapping[str, type[Any]] = {
    "trainers": TrainerSpec,
    "backbones": BackboneSourceSpec,
    "weights": WeightsSpec,
    "data_sources": DataSourceSpec,
    "augmentations": AugmentationSpec,
    "launchers": LauncherSpec,
    "exporters": ExporterSpec,
}
"""Every kind of record: a hook is called ``autotune_`` and its kind."""

SINGULAR = {
    "trainers": "trainer",
    "backbones": "backbone source",
    "weights": "set of weights",
    "data_sources": "data source",
    "augmentations": "augmentation",
    "launchers": "launcher",
    "exporters": "exporter",
}

_CALLABLES = ("build", "locate", "accepts", "open")


def name_of(record: Record) -> str:
    """What a record is asked for by: weights go by their backbone."""
    return record.backbone if isinstance(record, WeightsSpec) else record.name


def gather(hooks: Iterable[tuple[str, Callable[..., Any]]]) -> dict[str, dict[str, Record]]:
    """Asks one plugin's provider hooks for their records.

    Args:
        hooks: Names and functions of the hooks that the plugin implements, others than providers included.

    Returns:
        The records by kind and name.

    Raises:
        BrokenPluginError: A hook raises, or a record is wrong.
    """
    offers: dict[str, dict[str, Record]] = {}
    for hook, function in hooks:
        kind = hook.removeprefix("autotune_")
        if kind not in KINDS:
            continue
        try:
            answer = function()
            records = list(answer) if isinstance(answer, Iterable) else None
        except Exception as error:
            raise BrokenPluginError(f"{hook} raises {one_line(error)}") from error
        if records is None:
            raise BrokenPluginError(f"{hook} returns {answer!r}, not a list of {KINDS[kind].__name__}")
        named = offers.setdefault(kind, {})
        for record in records:
            if problem := _problem(record, KINDS[kind]):
                raise BrokenPluginError(f"{hook}: {problem}")
            if name_of(record) in named:
                raise BrokenPluginError(f"{hook} offers {name_of(record)!r} twice")
            named[name_of(record)] = record
    return offers


def hooks_of(plugin: object, manager: pluggy.PluginManager) -> list[tuple[str, Callable[..., Any]]]:
    """The hooks that a registered plugin implements, checked.

    Raises:
        BrokenPluginError: A hook is unknown, or a wrapper, or there is none.
    """
    known = [n for n in dir(manager.hook) if n.startswith("autotune_") and getattr(manager.hook, n).has_spec()]
    hooks = []
    for caller in manager.get_hookcallers(plugin) or []:
        for impl in caller.get_hookimpls():
            if impl.plugin is not plugin:
                continue
            if not caller.has_spec() and not impl.optionalhook:
                raise BrokenPluginError(
                    f"has an unknown hook {caller.name!r} ({near_matches(caller.name, sorted(known))})"
                )
            if impl.wrapper or impl.hookwrapper:
                raise BrokenPluginError(
                    f"{caller.name} is a wrapper; plugins of autotune cannot wrap each other's hooks"
                )
            if caller.has_spec():
                hooks.append((caller.name, impl.function))
    if not hooks:
        raise BrokenPluginError("implements no hook; mark its functions with @autotune.hookimpl")
    return hooks


def _problem(record: object, wanted: type[Any]) -> str | None:
    """What is wrong with a record, or None."""
    if not isinstance(record, wanted):
        return f"{record!r} is no {wanted.__name__}"
    name = name_of(record)
    where = f"{wanted.__name__} {name!r}"
    if not isinstance(name, str) or not name or name != name.strip() or any(c.isspace() for c in name):
        return f"{where}: a name is text without spaces"
    if isinstance(record, WeightsSpec) != ("/" in name):
        return f"{where}: " + ("write source/name" if isinstance(record, WeightsSpec) else "a name has no '/'")
    for field in _CALLABLES:
        if hasattr(record, field) and not callable(getattr(record, field)):
            return f"{where}: {field} cannot be called"
    if isinstance(record, AugmentationSpec) and not (record.build_batch is None or callable(record.build_batch)):
        return f"{where}: build_batch cannot be called"
    if not isinstance(getattr(record, "summary", None), str):
        return f"{where}: summary is not text"
    return _trainer_problem(record, where) if isinstance(record, TrainerSpec) else None


def _trainer_problem(spec: TrainerSpec, where: str) -> str | None:
    if not (isinstance(spec.recipe, type) and issubclass(spec.recipe, Recipe)):
        return f"{where}: recipe is no subclass of autotune.Recipe"
    if isinstance(spec.metrics, str) or not spec.metrics or not all(isinstance(m, str) for m in spec.metrics):
        return f"{where}: metrics must be a tuple of names, not {spec.metrics!r}"
    if spec.tasks not in ("one", "many"):
        return f"{where}: tasks is 'one' or 'many', not {spec.tasks!r}"
    if not callable(spec.batch) and (not isinstance(spec.batch, int) or spec.batch < 1):
        return f"{where}: batch is a whole number from 1 or a function from a recipe to one, not {spec.batch!r}"
    if unknown := [f for f in spec.same if f not in spec.recipe.model_fields]:
        return f"{where}: same names {unknown[0]!r}, which {spec.recipe.__name__} does not declare"
    try:
        SearchSpace.of(spec.recipe)
    except AutotuneError as error:
        return f"{where}: {error.message}"
    return None
