"""The search as a whole."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path

import pytest

import autotune
from autotune import Epoch, hookimpl
from autotune.engine import Clock, run_search
from autotune.engine.attempt import read_attempts, trial_folder
from autotune.engine.clock import read_clock
from autotune.engine.search import read
from autotune.errors import AutotuneError, BudgetError, PluginError, UsageError


def told(study):
    """What must be the same when a study is run again: everything but times."""
    return [
        (
            t.number,
            t.state,
            t.stage,
            t.seed,
            t.recipe,
            t.sampled,
            t.value,
            t.reason,
            [(p.at, p.metrics) for p in t.curve],
        )
        for t in study.trials
    ]


def test_trials_run_and_their_records_are_whole(plan):
    """Every trial has a recipe, a curve, a value and a state, and the study is done."""
    study = run_search(plan(trials=4, epochs=4, pruner="none"))
    assert study.state == "done"
    assert [t.number for t in study.trials] == [0, 1, 2, 3]
    for trial in study.trials:
        assert trial.state == "complete"
        assert [p.at for p in trial.curve] == [1, 2, 3, 4]
        assert trial.value == trial.metrics["accuracy"] == pytest.approx(trial.recipe["x"] * (1 - 0.5**4))
        assert trial.recipe == trial.sampled
        assert trial.curve[0].images == 10
        assert trial.attempts == 1
    assert study.leader.value == max(t.value for t in study.trials)


def test_the_same_seed_gives_the_same_trials_and_scores(plan, tmp_path):
    """With a number of trials, one seed and one worker, two studies are alike; another seed is not."""
    first = run_search(plan(runs=tmp_path / "a", trials=12, epochs=4))
    again = run_search(plan(runs=tmp_path / "b", trials=12, epochs=4))
    other = run_search(plan(runs=tmp_path / "c", trials=3, epochs=4, seed=1))
    assert told(first) == told(again)
    assert any(t.state == "pruned" for t in first.trials)
    assert [t.sampled for t in other.trials[1:]] != [t.sampled for t in first.trials[1:3]]


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "qmc", "nsga2"])
def test_a_study_in_two_calls_is_like_one(plan, tmp_path, sampler):
    """A study that is extended samples what it would have sampled in one go."""
    more = {"epochs": 1, "sampler": sampler}
    whole = run_search(plan(runs=tmp_path / "a", trials=12, **more))
    run_search(plan(runs=tmp_path / "b", trials=5, **more))
    parts = run_search(plan(runs=tmp_path / "b", trials=12, **more))
    assert told(whole) == told(parts)


def test_nothing_happens_when_the_study_is_done(plan):
    """The same call again trains nothing; a larger total goes on; a smaller one changes nothing."""
    calls = []

    def fit(recipe, data, run):
        calls.append(run.trial)
        yield Epoch(at=1, images=1, metrics={"accuracy": recipe.x})

    run_search(plan(fit, trials=3, epochs=1))
    run_search(plan(fit, trials=3, epochs=1))
    assert calls == [0, 1, 2]
    assert len(run_search(plan(fit, trials=5, epochs=1)).trials) == 5
    assert len(run_search(plan(fit, trials=2, epochs=1)).trials) == 5
    assert calls == [0, 1, 2, 3, 4]


def test_good_recipes_come_first_whole_and_inside_the_space(plan):
    """Proposals are tried in their order; what they leave out takes the recipe's default, clipped into the space."""
    first = [{"x": 0.9}, {"n": 7}]
    study = run_search(plan(trials=3, epochs=1, first=first, space={"x": {"low": 0.6, "high": 1.0}}))
    assert [dict(t.sampled) for t in study.trials[:2]] == [{"x": 0.9, "n": 3}, {"x": 0.6, "n": 7}]
    assert set(study.trials[2].sampled) == {"x", "n"}


def test_observers_are_told_in_order(plan):
    """The study's start, then each trial's start, epochs and end, with records that include what just happened."""
    seen = []

    class Observer:
        @hookimpl
        def autotune_study_started(self, study):
            seen.append("study")

        @hookimpl
        def autotune_trial_started(self, study, trial):
            seen.append(("start", trial.number, trial.state))

        @hookimpl
        def autotune_epoch_finished(self, study, trial, epoch):
            assert trial.curve[-1].at == epoch.at
            assert study.trial(trial.number) == trial
            seen.append(("epoch", trial.number, epoch.at))

        @hookimpl
        def autotune_trial_finished(self, study, trial):
            seen.append(("end", trial.number, trial.state))

    run_search(plan(trials=2, epochs=2, observers=[Observer()]))
    assert seen == ["study"] + [
        event
        for n in (0, 1)
        for event in [("start", n, "running"), ("epoch", n, 1), ("epoch", n, 2), ("end", n, "complete")]
    ]


def test_checkpoints_say_what_they_are(plan):
    """The host adds trainer, recipe, classes, trial and epochs to every checkpoint, beside the trainer's own facts."""
    study = run_search(plan(trials=1, epochs=2))
    path = study.path / study.trials[0].curve[-1].checkpoint
    facts = autotune.read_checkpoint(path).facts
    assert facts["trainer"] == "fake"
    assert facts["recipe"] == study.trials[0].recipe
    assert facts["classes"] == ["class-0", "class-1", "class-2"]
    assert (facts["trial"], facts["epochs_done"], facts["at"]) == (0, 2.0, 2)
    assert facts["backbone"] is facts["weights"] is None
    assert facts["autotune"] == autotune.__version__


def test_several_goals_and_limits(plan):
    """Two goals run without Optuna's pruning, and a limit decides over the leader."""
    study = run_search(plan(trials=8, epochs=4, metric=["accuracy", "cost:minimize"], limits={"cost": 0.5}))
    assert {t.state for t in study.trials} <= {"complete", "pruned"}
    assert study.leader.metrics["cost"] <= 0.5


def test_five_equal_failures_in_a_row_stop_the_study(plan):
    """The study ends with an error that says the reason; what failed counts and has no score."""

    def fit(recipe, data, run):
        raise ValueError("no luck")
        yield

    with pytest.raises(AutotuneError, match=r"5 trials in a row failed alike \(plugin\).*ValueError: no luck") as info:
        run_search(plan(fit, trials=9, epochs=2))
    assert info.value.hint
    study = read(plan(trials=9, epochs=2).path, plan(trials=9, epochs=2).plugins)
    assert [t.state for t in study.trials] == ["failed"] * 5
    assert all(t.value is None and "ValueError" in t.failure.traceback for t in study.trials)


def test_failures_count_towards_the_total(plan):
    """Unequal failures do not stop the study; they count as trials, have no score and are not pruned."""

    def fit(recipe, data, run):
        yield Epoch(at=1, images=1, metrics={"accuracy": 0.9})
        raise ValueError(f"bad luck {run.trial}")

    study = run_search(plan(fit, trials=6, epochs=2))
    assert [t.state for t in study.trials] == ["failed"] * 6
    assert study.leader is None
    assert study.state == "done"


def test_the_deadline_is_honoured_within_a_batch_and_the_cut_trial_goes_on_later(plan):
    """A search of 3 s ends in time with a partial epoch that counts; with more time the same trial goes on."""

    def fit(recipe, data, run):
        done = 0.0 if run.resume is None else run.resume.facts["at"]
        batches = round(done * 100)
        while batches < run.epochs * 100:
            if reason := run.stop():
                if reason == "deadline":
                    yield epoch(run, batches)
                return
            time.sleep(0.02)
            batches += 1
            if batches % 100 == 0:
                yield epoch(run, batches)

    def epoch(run, batches):
        at = batches / 100
        import numpy as np

        saved = run.save({"w": np.ones(1)}, {"at": at})
        return Epoch(at=at, images=batches, metrics={"accuracy": at / 10}, checkpoint=saved)

    begin = time.monotonic()
    study = run_search(plan(fit, time=2.5, epochs=3))
    assert 1.2 < time.monotonic() - begin < 2.2
    assert study.state == "done"
    trial = study.trials[0]
    assert trial.state == "running"
    assert 0 < trial.curve[-1].at < 2
    assert re.fullmatch(r"waits: the time ran out at epoch [\d.]+ of 3", trial.reason)
    assert trial.value == trial.curve[-1].at / 10
    counted = read_clock(study.path)["spent"]
    again = run_search(plan(fit, time=2.5, epochs=3))
    assert again.trials == study.trials
    assert again.spent == counted
    more = run_search(plan(fit, time=5.0, epochs=3))
    assert more.trials[0].attempts == 2
    assert more.trials[0].curve[-1].at > trial.curve[-1].at
    assert [p.at for p in more.trials[0].curve] == sorted(p.at for p in more.trials[0].curve)


def test_a_time_too_short_for_one_epoch_is_said(plan):
    """The error says how long it took, how far the first trial came, and what to ask for."""

    def fit(recipe, data, run):
        while not run.stop():
            time.sleep(0.01)
        return
        yield

    with pytest.raises(
        BudgetError, match=r"1 s are too short for one epoch: .* the first trial had done \d+ batches"
    ) as e:
        run_search(plan(fit, time=1.0, epochs=3))
    assert "--time" in e.value.hint


def test_time_spent_before_the_search_counts(plan):
    """A clock that began before the search makes the deadline come earlier."""
    made = plan(time=100.0, epochs=2)
    with pytest.raises(BudgetError, match="no trial had begun"):
        run_search(made, Clock(made.path, 100.0, started=time.monotonic() - 99))


def test_the_time_total_is_over_all_calls(plan, fake_fit):
    """What earlier calls spent is kept, and a total in time ends a study that has trials left to run."""

    def fit(recipe, data, run):
        time.sleep(0.05)
        yield from fake_fit(recipe, data, run)

    one = run_search(plan(fit, trials=3, epochs=1))
    two = run_search(plan(fit, trials=6, epochs=1))
    assert two.spent > one.spent + 0.1
    assert json.loads((two.path / "clock.json").read_text())["ended"]["trials"] == 6
    three = run_search(plan(fit, trials=60, time=1.5 * (two.spent + 0.9), epochs=1))
    assert 6 < len(three.trials) < 60
    assert three.state == "done"


def test_near_the_end_the_leader_is_trained_longer(plan, fake_fit):
    """With less than two trainings left, the leader goes on beyond its epochs as a trial of stage final."""

    def fit(recipe, data, run):
        for epoch in fake_fit(recipe, data, run):
            yield epoch
            time.sleep(0.4)

    study = run_search(plan(fit, time=6.0, epochs=4, first=[{"x": 1.0}], pruner="none"))
    leader, final = study.trials[:2]
    assert (leader.stage, leader.state) == ("search", "complete")
    assert (final.stage, final.parent, final.recipe, final.seed) == ("final", 0, leader.recipe, leader.seed)
    assert final.curve[0].at == 5
    assert final.value > leader.value


def test_exits_are_not_eaten(plan):
    """KeyboardInterrupt and SystemExit of a trainer pass through; the trial can be resumed."""
    for error in (KeyboardInterrupt, SystemExit):

        def fit(recipe, data, run, error=error):
            raise error
            yield

        with pytest.raises(error):
            run_search(plan(fit, trials=1, epochs=1))
    study = run_search(plan(trials=1, epochs=1))
    assert study.trials[0].attempts == 3
    assert study.trials[0].state == "complete"


def test_attempts_that_die_again_and_again_are_lost(plan):
    """After five attempts that died without a new epoch the trial fails as lost, and the search goes on."""

    def fit(recipe, data, run):
        if run.trial == 0:
            raise SystemExit
        yield Epoch(at=1, images=1, metrics={"accuracy": recipe.x})

    for _ in range(5):
        with pytest.raises(SystemExit):
            run_search(plan(fit, trials=2, epochs=1))
    study = run_search(plan(fit, trials=2, epochs=1))
    assert study.trials[0].state == "failed"
    assert study.trials[0].failure.kind == "lost"
    assert study.trials[1].state == "complete"


def test_the_search_runs_outside_the_main_thread(plan):
    """Without the main thread no signal handler is set, and the search works."""
    found = []
    made = plan(trials=1, epochs=1)
    thread = threading.Thread(target=lambda: found.append(run_search(made)))
    thread.start()
    thread.join()
    assert found[0].state == "done"


def test_a_trainer_that_cannot_be_built_is_named(plan):
    """The error names trainer and plugin, and leaves no trial behind."""
    made = plan(trials=1, epochs=1)
    from dataclasses import replace

    def build():
        raise ImportError("no such library")

    with pytest.raises(PluginError, match=r"trainer 'fake' \(plugin fake\) cannot be built: ImportError"):
        run_search(replace(made, trainer=replace(made.trainer, build=build)))
    assert not (made.path / "trials").exists()


def test_a_search_needs_an_end(plan):
    """Without time and trials nothing begins."""
    from dataclasses import replace

    made = plan(trials=1, epochs=1)
    endless = replace(made, config=made.config.model_copy(update={"trials": None, "time": None}))
    with pytest.raises(UsageError, match="needs an end"):
        run_search(endless)


def test_checkpoints_are_thinned_out(plan):
    """Of many trials only the best few keep their best checkpoint, and the leader its last two."""
    study = run_search(plan(trials=12, epochs=4, pruner="none"))
    holding = {t.number for t in study.trials if any(p.checkpoint for p in t.curve)}
    ranked = sorted(study.trials, key=lambda t: -t.value)
    assert holding == {t.number for t in ranked[:5]}
    files = list(study.path.glob("trials/*/attempt-*/checkpoint-*.safetensors"))
    assert len(files) == 6
    assert [p.at for p in ranked[0].curve if p.checkpoint] == [3, 4]


def test_a_full_disk_is_not_the_trainers_fault(plan, fake_fit):
    """When a checkpoint cannot be written the search stops, and the trial goes on later."""

    def fit(recipe, data, run):
        run.folder = Path("/proc/none")
        yield from fake_fit(recipe, data, run)

    with pytest.raises(autotune.StudyError, match="cannot be written"):
        run_search(plan(fit, trials=1, epochs=2))
    assert run_search(plan(trials=1, epochs=2)).trials[0].state == "complete"


def test_damaged_checkpoints_are_passed_over(plan, fake_fit):
    """A trial resumes from the newest checkpoint that is whole, says so, and drops what lay beyond it."""

    def dying(recipe, data, run):
        for epoch in fake_fit(recipe, data, run):
            yield epoch
            if epoch.at == 3:
                raise SystemExit

    with pytest.raises(SystemExit):
        run_search(plan(dying, trials=1, epochs=5))
    made = plan(trials=1, epochs=5)
    newest = trial_folder(made.path, 0) / "attempt-1" / "checkpoint-3.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    trial = run_search(made).trials[0]
    assert [p.at for p in trial.curve] == [1, 2, 3, 4, 5]
    assert any("not those that were saved" in note for note in trial.notes)
    assert [a.start for a in read_attempts(trial_folder(made.path, 0), made.path)] == [0.0, 2.0]


def test_a_trial_is_reproduced_from_its_recipe(plan, tmp_path):
    """A study that was given a trial's recipe.toml trains the same weights again, bit by bit."""
    study = run_search(plan(runs=tmp_path / "a", trainer="toy", trials=3, epochs=2, pruner="none"))
    best = study.leader
    recipe = trial_folder(study.path, best.number) / "recipe.toml"
    again = run_search(plan(runs=tmp_path / "b", trainer="toy", recipe=str(recipe), trials=1)).trials[0]
    assert (again.seed, dict(again.recipe)) == (best.seed, dict(best.recipe))
    assert [p.metrics for p in again.curve] == [p.metrics for p in best.curve]
