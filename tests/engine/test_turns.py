"""Taking trials again."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path
from threading import Event, Thread, current_thread

import pytest

from autotune.engine import Clock, at_work, run_search, run_worker, turns
from autotune.engine.attempt import claim_trial, trial_folder
from autotune.engine.outage import patient
from autotune.engine.search import read
from autotune.engine.study_lock import BrokenHoldError


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

    def slow(made, folder, check):
        write(made, folder, check)
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


@pytest.mark.filterwarnings("ignore:.*cannot be written")
def test_who_waited_for_its_folder_does_not_renumber_what_another_trains(plan, fake_fit, monkeypatch, tmp_path):
    """A trial that another worker has taken meanwhile, half asked as it was, keeps the number that it got there."""
    mkdir, threads, failed, training, taken = Path.mkdir, [], [], Event(), Event()
    options = {"trials": 2, "epochs": 2, "pruner": "none"}

    def full(path, *args, **more):
        if path.name == "00000" and not threads:
            (token,) = (tmp_path / "study/turn.lock").iterdir()
            token.rename(token.with_name("free"))
            threads.append(Thread(target=other))
            threads[0].start()
            assert training.wait(30.0)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        mkdir(path, *args, **more)

    def fit(recipe, data, run):
        if current_thread() in threads:
            training.set()
            taken.wait(30.0)
        else:
            taken.set()
        yield from fake_fit(recipe, data, run)

    def other():
        made = plan(fit, **options)
        try:
            with at_work(made, Clock(made.path)) as call:
                run_worker(call)
        except Exception as error:
            failed.append(error)

    monkeypatch.setattr(Path, "mkdir", full)
    study = run_search(plan(fit, **options))
    threads[0].join(60.0)
    assert failed == []
    assert [(t.number, t.state, t.attempts) for t in study.trials] == [(0, "complete", 1), (1, "complete", 1)]


@pytest.mark.filterwarnings("ignore:.*cannot be written")
@pytest.mark.parametrize("what", ["folder", "recipe"])
def test_nothing_of_another_workers_trial_is_touched_once_the_hold_is_lost(monkeypatch, tmp_path, what):
    """The hold is asked for again each time that there may be room, and before what lies in a folder is removed."""
    recipe = trial_folder(tmp_path, 0) / "recipe.toml"
    made = turns.TrialPlan(trial=0, stage="search", trainer="fake", seed=1, epochs=1)

    def lost():
        if recipe.exists():
            raise BrokenHoldError

    def late(*args, **more):
        monkeypatch.undo()
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text("another worker's")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    recipe.parent.parent.mkdir()
    take = lambda: claim_trial(tmp_path, -1, lost)  # noqa: E731
    if what == "recipe":
        take = lambda: made.write(recipe.parent, lost)  # noqa: E731
        recipe.parent.mkdir()
        monkeypatch.setattr("autotune.engine.recipes.write_atomically", late)
    else:
        monkeypatch.setattr(Path, "mkdir", lambda path, **more: late() if path == recipe.parent else None)
    with patient(5.0, lambda: False), pytest.raises(BrokenHoldError):
        take()
    assert recipe.read_text() == "another worker's"
