"""The space of a study: a trainer's own, or a plugin's, changed by the study file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.backbone import Facts
from autotune.checking import space_problems
from autotune.config import StudyConfig
from autotune.data import Dataset
from autotune.errors import ConfigError, PluginError
from autotune.fields import registry_of
from autotune.plugins import Plugins
from autotune.space import SearchSpace
from autotune.specs import TrainerSpec
from autotune.trainer import Recipe

Registries = Mapping[str, Sequence[str]]


def default_space(recipe: type[Recipe], registries: Registries) -> SearchSpace:
    """The space that a recipe declares."""
    return SearchSpace.of(recipe, **registries)


def base_space(
    trainer: TrainerSpec,
    plugins: Plugins,
    facts: Sequence[Facts],
    dataset: Dataset,
    default: SearchSpace,
    registries: Registries,
) -> SearchSpace:
    """The space that a plugin decides on, or the recipe's own.

    A plugin's answer that says nothing of the candidates or the augmentations keeps all of them.

    Raises:
        PluginError: The answer names a candidate or an augmentation that there is not.
    """
    answer = plugins.search_space(trainer, facts, dataset.data)
    if answer is None:
        return default
    for name, dimension in answer.items():
        known = registries.get(registry_of(trainer.recipe, name) or "")
        unknown = [v for v in getattr(dimension, "values", ()) if known is not None and v not in known]
        if unknown:
            raise PluginError(
                f"a plugin's search space names {unknown[0]!r} for {name}",
                hint="known here: " + ", ".join(known or ()),
            )
    kept = {n: d for n, d in default.items() if n not in answer and registry_of(trainer.recipe, n) is not None}
    return _ordered({**answer, **kept}, trainer.recipe)


def study_space(config: StudyConfig, trainer: TrainerSpec, base: SearchSpace, registries: Registries) -> SearchSpace:
    """A space changed by ``[space]``.

    Raises:
        ConfigError: The changes are impossible; all are told.
    """
    space, problems = space_problems(config, trainer.recipe, base, registries, trainer.name)
    if problems:
        raise ConfigError(problems, where="the request")
    return space


def written_space(
    config: StudyConfig, trainer: TrainerSpec, default: SearchSpace, registries: Registries
) -> SearchSpace:
    """The space of a study that has begun: exactly what its file says, and the candidates.

    Raises:
        ConfigError: The file's space is impossible; all mistakes are told.
    """
    candidates = [n for n in default if registry_of(trainer.recipe, n) == "backbones"]
    whole = study_space(config, trainer, default, registries)
    return SearchSpace({n: d for n, d in whole.items() if n in config.space or n in candidates})


def _ordered(dimensions: Mapping[str, object], recipe: type[Recipe]) -> SearchSpace:
    return SearchSpace({n: dimensions[n] for n in recipe.model_fields if n in dimensions})  # type: ignore[misc]
