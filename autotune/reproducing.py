"""A trial's ``recipe.toml`` as a study of its own: everything fixed, nothing searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.config import StudyConfig, read_table
from autotune.errors import ConfigError


def with_recipe_file(config: StudyConfig) -> StudyConfig:
    """Puts a recipe file's hyperparameters, seed and epochs where the configuration leaves them open.

    What ``fixed`` says goes before the file; what ``space`` names is searched around it.

    Raises:
        UsageError: The file cannot be read.
        ConfigError: It is no recipe.
    """
    if config.recipe is None:
        return config
    path = Path(config.recipe).expanduser()
    path = path / "recipe.toml" if path.is_dir() else path
    table = read_table(path)
    recipe = table.get("recipe")
    problems = [] if isinstance(recipe, dict) else ["has no table [recipe]; name a trial's recipe.toml"]
    update: dict[str, Any] = {}
    for key in ("seed", "epochs"):
        if key in config.model_fields_set or key not in table:
            continue
        if type(table[key]) is not int or table[key] < (0 if key == "seed" else 1):
            problems.append(f"{key} = {table[key]!r}: must be a whole number")
        update[key] = table[key]
    if "trainer" in table and "trainer" not in config.model_fields_set:
        update["trainer"] = str(table["trainer"])
    if problems or not isinstance(recipe, dict):
        raise ConfigError(problems, where=str(path))
    kept = {name: value for name, value in recipe.items() if name not in config.space}
    update["fixed"] = {**kept, **config.fixed}
    if config.backbones is None and isinstance(recipe.get("backbone"), str):
        update["backbones"] = (update["fixed"].pop("backbone"),)
    return config.model_copy(update={**update, "recipe": None})
