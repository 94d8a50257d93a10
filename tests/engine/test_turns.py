"""Taking trials again."""

from __future__ import annotations

from collections import Counter
from threading import Thread

import pytest

from autotune.engine import Clock, at_work, run_search, run_worker, turns
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


@pytest.mark.parametrize("kind", ["leader", "batch"])
def test_a_disk_that_is_full_for_longer_than_the_hold_doubles_no_trial(plan, fake_fit, monkeypatch, tmp_path, kind):
    """Who waited for room while it made a trial has lost the hold, and another worker has made it: none is twice."""
    write, waited = turns.TrialPlan.write, []

    def slow(made, folder):
        write(made, folder)
        if not waited and (made.parent is not None or made.batch not in (None, made.trial)):
            waited.append(made.trial)
            (token,) = (tmp_path / "study/turn.lock").iterdir()
            token.rename(token.with_name("free"))  # as by another worker, which broke the hold and gave it back
            thread = Thread(target=other)
            thread.start()
            thread.join(60.0)

    def other():
        made = plan(fake_fit, **options)
        with at_work(made, Clock(made.path, made.config.time)) as call:
            run_worker(call)

    options = {"epochs": 2, "pruner": "none"}
    if kind == "leader":
        monkeypatch.setattr("autotune.engine.taking.nearly_over", lambda *_: True)
        options |= {"time": 5.0, "first": [{"x": 1.0}]}
    else:
        options |= {"trials": 2, "batch": 3, "same": ("n",)}
    monkeypatch.setattr(turns.TrialPlan, "write", slow)
    study = run_search(plan(fake_fit, **options))
    assert waited
    assert set(Counter(trial.number for trial in study.trials).values()) == {1}
    if kind == "batch":
        assert Counter(trial.batch for trial in study.trials) == {0: 3, 3: 3}
