"""A trial's ``recipe.toml`` as a study of its own: everything fixed, nothing searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.config import StudyConfig, read_table
from autotune.errors import ConfigError


def with_recipe_file(config: StudyConfig) -> StudyConfig:
    """Puts a recipe file's hyperparameters, seed and epochs into the configuration, and searches nothing.

    What was said beside the file goes before it: ``fixed.lr=0.1``, ``epochs=20``, ``trial_seed=7``. Without a time
    or a number of trials, there is one trial.

    Raises:
        UsageError: The file cannot be read.
        ConfigError: It is no recipe.
    """
    if config.recipe is None:
        return config
    path = Path(config.recipe).expanduser()
    path = path / "recipe.toml" if path.is_dir() else path
    table = read_table(path, remedy="name a trial's, e.g. recipe=runs/NAME/trials/00002/recipe.toml")
    recipe = table.get("recipe")
    if not isinstance(recipe, dict):
        raise ConfigError(["has no table [recipe]; name a trial's recipe.toml"], where=str(path))
    update: dict[str, Any] = {
        "recipe": None,
        "learn_from": None,
        "space": {},
        "fixed": {**recipe, **config.fixed},
    }
    problems = []
    for key, name, least in (("seed", "trial_seed", 0), ("epochs", "epochs", 1)):
        if key not in table or _said(config, name):
            continue
        if type(table[key]) is not int or table[key] < least:
            problems.append(f"{key} = {table[key]!r}: must be a whole number of at least {least}")
        update[name] = table[key]
    if problems:
        raise ConfigError(problems, where=str(path))
    if "trainer" not in config.model_fields_set and isinstance(table.get("trainer"), str):
        update["trainer"] = table["trainer"]
    if isinstance(recipe.get("backbone"), str):
        update["backbones"] = (str(update["fixed"].pop("backbone")),)
    if config.time is None and config.trials is None:
        update["trials"] = 1
    return config.model_copy(update=update)


def _said(config: StudyConfig, key: str) -> bool:
    """Whether a person set a key, and not autotune when it completed the file that the configuration comes from."""
    value = getattr(config, key)
    return value is not None and value != config.made.get(key)
