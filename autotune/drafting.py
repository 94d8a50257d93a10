"""A commented study.toml to begin with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomlkit

from autotune.checking import check
from autotune.checkpoint import write_atomically
from autotune.errors import UsageError
from autotune.plugins import Plugins, load_plugins
from autotune.searching import Places, read_request
from autotune.space import Choice, Dimension, SearchSpace
from autotune.specs import TrainerSpec

if TYPE_CHECKING:
    from autotune.config import StudyConfig

TABLES = ("fixed", "space", "limits", "splits", "made")
ALWAYS = ("format", "data")
EXAMPLES: dict[str, Any] = {
    "name": "mine",
    "time": "15m",
    "trials": 30,
    "epochs": 10,
    "backbones": ["timm/resnet18"],
    "cache_size": "20GB",
    "lease": "30s",
    "retries": 4,
    "learn_from": "runs",
    "recipe": "runs/mine/trials/00002/recipe.toml",
    "teacher": "runs/mine",
    "trial_seed": 1,
}
"""Shown for the keys that have no default value."""


def write_draft(path: Path, data: Places | None, assignments: Sequence[str] = (), *, force: bool = False) -> None:
    """Writes a commented study.toml.

    Args:
        path: The file.
        data: The place of the images, or several.
        assignments: ``key=value`` lines; what they set is written, the rest stands as comments.
        force: Overwrite a file that exists.

    Raises:
        UsageError: The file exists, or an assignment is wrong.
        DataError: There are no images at the place.
    """
    if path.exists() and not force:
        raise UsageError(f"{path} exists", hint="write another one with --output, or overwrite it with --force")
    config, _ = read_request(data, assignments)
    plugins = load_plugins()
    check(config, plugins)
    for place in config.places:
        plugins.open_source(place)
    text = draft(config, plugins)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())


def draft(config: StudyConfig, plugins: Plugins) -> str:
    """The text of a study.toml: every key with its description; those that are not set are comments."""
    spec = plugins.trainer(config.trainer)
    lines = [
        "# A study: autotune search study.toml. Lines behind '#' are defaults, or examples where there is none.",
        "",
    ]
    for name, field in type(config).model_fields.items():
        if name not in TABLES:
            lines += [f"# {field.description}", _line(name, getattr(config, name), config), ""]
    lines += _splits(config)
    space = SearchSpace.of(spec.recipe, augmentations=tuple(plugins.augmentations))
    lines += ["# Hyperparameters that are not searched. Each of [space] can stand here instead.", "[fixed]"]
    lines += _fixed(config, spec, space)
    lines += [
        "",
        "[space]",
        f"# Ranges of what is searched by `{spec.name}`; change any of them, low or high alone suffices.",
    ]
    lines += _space(config, spec, space)
    if config.limits:
        lines += ["[limits]", *(f"{name} = {_toml(value)}" for name, value in config.limits.items()), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _line(name: str, value: Any, config: StudyConfig) -> str:
    default = type(config).model_fields[name].get_default(call_default_factory=True)
    if name in ALWAYS or value != default:
        return f"{name} = {_toml(value)}"
    return f"# {name} = {_toml(EXAMPLES[name] if value is None else value)}"


def _splits(config: StudyConfig) -> Iterator[str]:
    yield f"# {type(config).model_fields['splits'].description}"
    yield "[splits]"
    for name, field in type(config.splits).model_fields.items():
        value = getattr(config.splits, name)
        yield f"{'# ' if value == field.default else ''}{name} = {_toml(value)}  # {field.description}"
    yield ""


def _fixed(config: StudyConfig, spec: TrainerSpec, space: SearchSpace) -> Iterator[str]:
    yield from (f"{name} = {_toml(value)}" for name, value in config.fixed.items())
    for name, field in spec.recipe.model_fields.items():
        # What has no default is chosen from the candidates, or filled in for each backbone.
        if name not in space and name not in config.fixed and isinstance(field.default, str | int | float):
            yield f"# {name} = {_toml(field.default)}  # {field.description or name}"


def _space(config: StudyConfig, spec: TrainerSpec, space: SearchSpace) -> Iterator[str]:
    for name, dimension in space.items():
        changed = config.space.get(name, {})
        yield f"# {spec.recipe.model_fields[name].description or name}"
        yield f"{'' if changed else '# '}{name} = {_inline(changed or _table(dimension))}"
    yield ""


def _table(dimension: Dimension) -> dict[str, Any]:
    if isinstance(dimension, Choice):
        return {"values": list(dimension.values)}
    return {"low": dimension.low, "high": dimension.high, "log": dimension.log}


def _inline(table: dict[str, Any]) -> str:
    return "{ " + ", ".join(f"{name} = {_toml(value)}" for name, value in table.items()) + " }"


def _toml(value: Any) -> str:
    return tomlkit.item(list(value) if isinstance(value, tuple) else value).as_string()
