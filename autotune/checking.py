"""Mistakes in a study's configuration that only the installed plugins can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autotune.errors import AutotuneError, ConfigError, near_matches
from autotune.fields import asked_dimension, field_problems, registry_of, value_problems
from autotune.mistakes import say
from autotune.objective import Goal, plain_metric
from autotune.space import SearchSpace
from autotune.trainer import Recipe

if TYPE_CHECKING:
    from autotune.config import StudyConfig
    from autotune.plugins import Plugins
    from autotune.specs import TrainerSpec


def check(config: StudyConfig, plugins: Plugins) -> None:
    """Checks everything in a configuration that depends on plugins.

    Raises:
        ConfigError: With every mistake there is.
    """
    if problems := config_problems(config, plugins):
        raise ConfigError(problems, where="the request")


def config_problems(config: StudyConfig, plugins: Plugins, *, skip: frozenset[str] = frozenset()) -> list[str]:
    """Every mistake that plugins show in a configuration, one line each.

    Args:
        config: What was asked.
        plugins: What is installed.
        skip: Keys that are known to be wrong, and hold a default instead.
    """
    problems: list[str] = []
    if config.pretrained is False and "pretrained" not in skip:
        own = [name for name in config.backbones or () if "@" in name or name.startswith("study:")]
        problems += [f"backbones: {name} brings own weights, yet pretrained = false; drop one of them" for name in own]
    if "trainer" in skip:
        return problems
    try:
        trainer = plugins.trainer(config.trainer)
    except AutotuneError as error:
        return [*problems, f"trainer = {config.trainer!r}: " + _one_line(error)]
    problems += _metric_problems(config, trainer, skip)
    problems += _task_problems(config, trainer, skip)
    problems += _device_problems(config, trainer)
    problems += _backbone_problems(config, trainer)
    problems += _teacher_problems(config, trainer)
    registries = {"augmentations": tuple(plugins.augmentations)}
    problems += _fixed_problems(config, trainer, registries, tuple(type(config).model_fields))
    both = [name for name in config.space if name in config.fixed]
    problems += [f"{name}: both fixed and searched; drop fixed.{name} or space.{name}" for name in both]
    space = SearchSpace.of(trainer.recipe, **registries)
    return problems + space_problems(config, trainer.recipe, space, registries, trainer.name)[1]


def space_problems(
    config: StudyConfig,
    recipe: type[Recipe],
    space: SearchSpace,
    registries: Mapping[str, Sequence[str]],
    trainer: str,
) -> tuple[SearchSpace, list[str]]:
    """Puts ``[space]`` over a space.

    Returns:
        The changed space, in the order of the recipe's fields, and every reason against it.
    """
    dimensions = dict(space)
    problems: list[str] = []
    for name, table in config.space.items():
        if name not in recipe.model_fields:
            problems.append(f"space.{name}: {_no_field(recipe, name, trainer)}")
        elif registry_of(recipe, name) == "backbones":
            problems.append(f"space.{name}: name the candidates with backbones=['...', '...']")
        else:
            dimension, wrong = asked_dimension(recipe, name, table, dimensions.get(name), registries)
            problems += wrong
            if dimension is not None:
                dimensions[name] = dimension
    ordered = {name: dimensions[name] for name in recipe.model_fields if name in dimensions}
    return SearchSpace(ordered), problems


def _metric_problems(config: StudyConfig, trainer: TrainerSpec, skip: frozenset[str]) -> list[str]:
    problems = []
    for metric in () if "metric" in skip else config.metric:
        name = metric.partition(":")[0]
        if plain_metric(name) not in trainer.metrics:
            reports = f"trainer {trainer.name!r} reports {', '.join(trainer.metrics)}"
            problems.append(say("metric", metric, f"{reports}; {near_matches(name, trainer.metrics)}"))
            continue
        try:
            Goal.of(metric)
        except AutotuneError as error:
            problems.append(_one_line(error))
    for name in config.limits:
        if plain_metric(name) not in trainer.metrics:
            near = near_matches(name, trainer.metrics)
            problems.append(f"limits.{name}: trainer {trainer.name!r} reports no such metric; {near}")
    return problems


def _task_problems(config: StudyConfig, trainer: TrainerSpec, skip: frozenset[str]) -> list[str]:
    """Several sets of images for a trainer that takes one; scores of a task where there are no tasks."""
    if "data" in skip or trainer.tasks == "many":
        return []
    problems = []
    if len(config.places) > 1:
        problems.append(
            f"data: {len(config.places)} sets of images, but trainer {trainer.name!r} takes one; "
            "trainer=multitask trains several on one backbone"
        )
    of_tasks = [name for name in (*config.metric, *config.limits) if "/" in name] if "metric" not in skip else []
    problems += [
        f"metric {name!r}: trainer {trainer.name!r} has one task; write {plain_metric(name)!r}" for name in of_tasks
    ]
    return problems


def _device_problems(config: StudyConfig, trainer: TrainerSpec) -> list[str]:
    if trainer.device is None:
        return []
    try:
        trainer.device(config.device)
    except AutotuneError as error:
        return [f"device = {config.device!r}: " + _one_line(error)]
    return []


def _backbone_problems(config: StudyConfig, trainer: TrainerSpec) -> list[str]:
    field = backbone_field(trainer.recipe)
    if field is None:
        wrong = config.backbones is not None
        return [f"backbones: trainer {trainer.name!r} uses none; drop the key"] if wrong else []
    one = config.fixed.get(field)
    if one is not None and config.backbones is not None and one not in config.backbones:
        return [say(f"fixed.{field}", one, f"backbones does not name it; drop fixed.{field}")]
    return []


def _teacher_problems(config: StudyConfig, trainer: TrainerSpec) -> list[str]:
    if config.teacher is None or (trainer.soft and trainer.tasks == "one"):
        return []
    return [say("teacher", config.teacher, f"trainer {trainer.name!r} learns from labels only; drop the key")]


def backbone_field(recipe: type[Recipe]) -> str | None:
    """The field that names the backbone; None where a recipe has none."""
    return "backbone" if "backbone" in recipe.model_fields else None


def _fixed_problems(
    config: StudyConfig, trainer: TrainerSpec, registries: Mapping[str, Sequence[str]], keys: Sequence[str]
) -> list[str]:
    recipe = trainer.recipe
    problems: list[str] = []
    for name, value in config.fixed.items():
        if name in recipe.model_fields:
            problems += [f"fixed.{line}" for line in value_problems(recipe, name, value, registries)]
        else:
            problems.append(f"fixed.{name}: {_no_field(recipe, name, trainer.name, keys)}")
    if not problems:
        problems += [f"fixed: {line}" for line in field_problems(recipe, config.fixed).get("", [])]
    return problems


def _no_field(recipe: type[Recipe], name: str, trainer: str, keys: Sequence[str] = ()) -> str:
    near = near_matches(name, sorted({*recipe.model_fields, *keys}))
    return f"trainer {trainer!r} has no such hyperparameter; {near}"


def _one_line(error: AutotuneError) -> str:
    return "; ".join(str(error).splitlines())
