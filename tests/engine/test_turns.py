"""Taking trials again."""

from __future__ import annotations

import pytest

from autotune.engine import run_search
from autotune.engine.attempt import trial_folder
from autotune.engine.search import read


def test_a_continuation_whose_recipe_is_refused_fails(plan, fake_fit, monkeypatch):
    """What goes on beyond its recipe's epochs is checked like every trial when it is taken again."""
    monkeypatch.setattr("autotune.engine.taking.nearly_over", lambda *_: True)
    kind = {"time": 60.0, "epochs": 2, "first": [{"x": 1.0}], "pruner": "none"}
    died = []

    def fit(recipe, data, run):
        if run.epochs > 2:
            died.append(run.trial)
            raise SystemExit
        yield from fake_fit(recipe, data, run)

    def never(recipe, data, run):
        raise KeyboardInterrupt
        yield

    with pytest.raises(SystemExit):
        run_search(plan(fit, **kind))
    (number,) = died
    made = plan(never, **kind)
    recipe = trial_folder(made.path, number) / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("[recipe]\n", "[recipe]\nodd = 1\n"))
    with pytest.raises(KeyboardInterrupt):
        run_search(made)
    trial = read(made.path, made.plugins).trial(number)
    assert (trial.stage, trial.state, trial.failure.kind) == ("final", "failed", "plugin")
    assert "the recipe is refused: " in trial.failure.reason
