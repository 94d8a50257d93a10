"""A trial's recipe.toml as a study of its own."""

from __future__ import annotations

import json

import pytest

from autotune.config import read_config
from autotune.errors import ConfigError, UsageError
from autotune.plan import resolve


def test_a_trial_is_repeated_from_its_recipe(images, plugins, runs, tmp_path, make):
    """Everything is fixed, the trial's own seed and epochs included; one trial is all."""
    study = make(images, plugins, runs, "trials=3", "seed=4").paced(7)
    study.write()
    recipe = study.recipe({"backbone": "acme/fixed", "lr": 0.02}).model_dump()
    file = tmp_path / "recipe.toml"
    lines = [f"{k} = {json.dumps(v)}" for k, v in recipe.items()]
    file.write_text("\n".join(["trial = 2", "seed = 1234", "epochs = 14", "[recipe]", *lines]))
    config = read_config(study.path / "study.toml", [f"recipe={file}", "name=again"])
    plan = resolve(config, plugins, runs=runs)
    assert plan.config.trials == 3
    assert (len(plan.space), plan.epochs, plan.config.trial_seed) == (0, 14, 1234)
    assert list(plan.backbones) == ["acme/fixed"]
    assert plan.recipe({}).model_dump() == recipe
    plan.write()
    assert resolve(config, plugins, runs=runs).config == plan.config
    alone = resolve(
        read_config(None, [f"recipe={file}", "epochs=3", "fixed.lr=0.5"], {"data": str(images), "trainer": "net"}),
        plugins,
        runs=tmp_path,
    )
    assert (alone.epochs, alone.fixed["lr"], alone.config.trials, alone.config.time) == (3, 0.5, 1, None)


def test_a_file_that_is_no_recipe_is_refused(images, plugins, runs, tmp_path, make):
    """Missing, without a recipe, or with values that the trainer refuses."""
    file = tmp_path / "recipe.toml"
    with pytest.raises(UsageError, match="no such file"):
        make(images, plugins, runs, f"recipe={file}")
    file.write_text("seed = 1\n")
    with pytest.raises(ConfigError, match=r"no table \[recipe\]"):
        make(images, plugins, runs, f"recipe={file}")
    file.write_text("[recipe]\nlr = -3.0\nbackbone = 'acme/small'\n")
    with pytest.raises(ConfigError, match=r"fixed\.lr"):
        make(images, plugins, runs, f"recipe={file}")
