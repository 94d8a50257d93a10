"""Batches: trials that are trained together."""

from __future__ import annotations

import json
import time

import pytest

import autotune
from autotune import Diverged, Epoch
from autotune.engine import drawing, run_search
from autotune.engine.batch import TOLD
from autotune.engine.context import COPY_OF
from autotune.engine.recipes import TrialPlan
from autotune.engine.search import read
from autotune.engine.storage import MEMBERS, SEARCH, open_journal
from autotune.errors import AutotuneError

SAME = ("n",)


def batches(study):
    """A study's trials by the trial that leads them."""
    found = {}
    for trial in study.trials:
        found.setdefault(trial.batch, []).append(trial)
    return found


def searched(study):
    """What the sampler knows."""
    return open_journal(study.path, study.objective).search.get_trials(deepcopy=False)


def curves(study):
    """What every trial was, and what became of it."""
    return [
        (t.number, t.batch, t.state, t.seed, t.recipe, [(p.at, p.metrics) for p in t.curve], t.reason)
        for t in study.trials
    ]


def test_a_batch_counts_as_one_and_all_its_trials_are_kept(plan):
    """Each trial of the search leads a batch; all share seed and `same` fields, and differ in what is searched."""
    study = run_search(plan(batch=8, same=SAME, trials=3, epochs=4, pruner="none"))
    assert study.state == "done"
    groups = batches(study)
    assert [len(group) for group in groups.values()] == [8, 8, 8]
    for leader, group in groups.items():
        assert [t.number for t in group] == list(range(leader, leader + 8))
        assert [t.follows for t in group] == [False] + [True] * 7
        assert len({(t.seed, t.recipe["n"]) for t in group}) == 1
        assert len({t.recipe["x"] for t in group}) == 8
        for trial in group:
            assert (trial.state, trial.stage, trial.attempts, trial.parent) == ("complete", "search", 1, None)
            assert [p.at for p in trial.curve] == [1, 2, 3, 4]
            assert trial.value == pytest.approx(trial.recipe["x"] * (1 - 0.5**4))
            written = TrialPlan.read(study.path / "trials" / f"{trial.number:05d}")
            assert (written.batch, written.recipe) == (leader, trial.recipe)
    assert len({t.seed for t in study.trials}) == 3
    assert study.leader.value == max(t.value for t in study.trials)
    again = run_search(plan(batch=8, same=SAME, trials=3, epochs=4, pruner="none"))
    assert curves(again) == curves(study)


def test_a_larger_total_goes_on_and_a_reader_sees_the_same(plan):
    """Totals count batches; what is read back is what the search returned."""
    run_search(plan(batch=4, trials=1, epochs=2))
    study = run_search(plan(batch=4, trials=2, epochs=2))
    assert len(batches(study)) == 2
    assert curves(read(study.path, plan(name="other", trials=1).plugins)) == curves(study)


def test_the_sampler_is_told_of_the_best_few(plan):
    """Beside the leader, copies of the best three members are in the search, with their values, and counted nowhere."""
    study = run_search(plan(batch=8, same=SAME, trials=2, epochs=3, pruner="none"))
    known = searched(study)
    copies = [t for t in known if COPY_OF in t.user_attrs]
    assert len(copies) == 2 * TOLD
    for group in batches(study).values():
        best = sorted(group[1:], key=lambda t: -t.value)[:TOLD]
        found = [t for t in copies if t.user_attrs[COPY_OF] in {b.number for b in group}]
        assert [t.user_attrs[COPY_OF] for t in found] == [t.number for t in best]
        assert [t.value for t in found] == [t.value for t in best]
        assert [t.params["x"] for t in found] == [t.recipe["x"] for t in best]
    assert len(study.trials) == 16


def test_copies_carry_limits(plan):
    """A copy's constraints are those of its trial, so that the sampler avoids what exceeds a limit."""
    study = run_search(plan(batch=6, same=SAME, trials=1, epochs=2, limits={"cost": 0.3}))
    (first, *_) = [t for t in searched(study) if COPY_OF in t.user_attrs]
    assert first.constraints == {"cost": pytest.approx(study.trial(first.user_attrs[COPY_OF]).metrics["cost"] - 0.3)}


def test_losers_leave_the_batch(plan, fake_many):
    """At a rung the worse half is pruned and no longer trained, and what is kept says so."""
    asked = []

    def many(recipes, data, runs):
        for told in fake_many(recipes, data, runs):
            asked.append(sorted(told))
            yield told

    study = run_search(plan(many=many, batch=16, same=SAME, trials=1, epochs=7))
    assert [len(places) for places in asked[:3]] == [16] * 3
    assert 8 <= len(asked[3]) < 16
    pruned = [t for t in study.trials if t.state == "pruned"]
    kept = [t for t in study.trials if t.state == "complete"]
    assert len(kept) == len(asked[6])
    assert len(kept) + len(pruned) == 16
    assert all("in its batch; the best half goes on" in t.reason for t in pruned)
    assert study.trials[0].state == "complete"
    assert study.leader.value == max(t.value for t in study.trials)
    ranked = sorted(study.trials, key=lambda t: -t.value)
    assert all(t.state == "complete" for t in ranked[:4])


@pytest.mark.parametrize("epochs", [3, 4])
@pytest.mark.parametrize("batch", [1, 8])
def test_after_the_last_epoch_nothing_is_pruned(plan, batch, epochs):
    """A trial that has done all its epochs is complete, however poor it is; an epoch earlier it may be stopped."""
    first = [{"x": 1.0 - i / 10, "n": 3} for i in range(9)] if batch == 1 else []
    trials = 9 if batch == 1 else 1
    study = run_search(plan(batch=batch, same=SAME, trials=trials, epochs=epochs, first=first))
    assert len(study.trials) == max(batch, trials)
    assert ({t.state for t in study.trials} == {"complete"}) == (epochs == 3)


def test_time_is_shared_out(plan, fake_many):
    """The seconds of a batch's trials add up to what it took, so that reports do not count it many times."""

    def many(recipes, data, runs):
        for told in fake_many(recipes, data, runs):
            time.sleep(0.1)
            yield told

    study = run_search(plan(many=many, batch=8, same=SAME, trials=1, epochs=4, pruner="none"))
    total = sum(t.seconds for t in study.trials)
    assert 0.4 <= total <= study.spent
    assert 0.39 <= sum(p.seconds for t in study.trials for p in t.curve) <= total + 0.01


def test_observers_hear_of_every_trial_but_the_study_is_read_once_an_epoch(plan):
    """Each member starts, yields and ends; all members of one epoch are told with one and the same snapshot."""

    class Observer:
        def __init__(self):
            self.started, self.epochs, self.ended = [], [], []

        @autotune.hookimpl
        def autotune_trial_started(self, study, trial):
            self.started.append(trial.number)

        @autotune.hookimpl
        def autotune_epoch_finished(self, study, trial, epoch):
            assert trial.curve[-1].at == epoch.at
            self.epochs.append((epoch.at, trial.number, study))

        @autotune.hookimpl
        def autotune_trial_finished(self, study, trial):
            self.ended.append((trial.number, trial.state))

    seen = Observer()
    run_search(plan(batch=5, same=SAME, trials=1, epochs=2, observers=[seen]))
    assert seen.started == list(range(5))
    assert [(at, number) for at, number, _ in seen.epochs] == [(at, n) for at in (1, 2) for n in range(5)]
    assert len({id(study) for _, _, study in seen.epochs}) == 2
    assert seen.ended == [(n, "complete") for n in range(5)]


def test_one_fails_alone(plan, fake_many):
    """`Run.fail` ends one run with kind and reason; the others go on, and nothing of it counts against the study."""

    def many(recipes, data, runs):
        for place, told in enumerate(fake_many(recipes, data, runs)):
            if place == 1:
                runs[2].fail(Diverged("the loss is nan"))
                del told[2]
            yield told

    study = run_search(plan(many=many, batch=4, same=SAME, trials=6, epochs=3, pruner="none"))
    for group in batches(study).values():
        assert [t.state for t in group] == ["complete", "complete", "failed", "complete"]
        assert (group[2].failure.kind, group[2].failure.reason) == ("diverged", "the loss is nan")
        assert (group[2].value, len(group[2].curve)) == (None, 1)


def test_a_bad_score_fails_its_run_alone(plan, fake_many):
    """A score that is not finite is that run's failure, not the batch's."""

    def many(recipes, data, runs):
        for told in fake_many(recipes, data, runs):
            told[1] = Epoch(at=told[0].at, images=1, metrics={"accuracy": float("nan")})
            yield told

    study = run_search(plan(many=many, batch=3, same=SAME, trials=1, epochs=2))
    assert [t.state for t in study.trials] == ["complete", "failed", "complete"]
    assert study.trials[1].failure.kind == "diverged"


def raising(recipes, data, runs):
    """Fails after two epochs."""
    for done in (1, 2):
        yield {i: Epoch(at=done, images=1, metrics={"accuracy": 0.5}) for i in range(len(runs))}
    raise ValueError("oh")


def listing(recipes, data, runs):
    """Yields a list."""
    yield [Epoch(at=1, images=1, metrics={"accuracy": 0.5})]


def overflowing(recipes, data, runs):
    """Yields an epoch for a recipe that there is not."""
    yield {len(runs): Epoch(at=1, images=1, metrics={"accuracy": 0.5})}


def silent(recipes, data, runs):
    """Yields nothing for the last recipe."""
    for done in (1, 2, 3):
        yield {i: Epoch(at=done, images=1, metrics={"accuracy": 0.5}) for i in range(len(runs) - 1)}


@pytest.mark.parametrize(
    ("many", "failed", "said"),
    [
        (raising, 3, "raised ValueError: oh"),
        (listing, 3, "fit_many yielded list, not epochs by the place of their recipe"),
        (overflowing, 3, "fit_many yielded an epoch for recipe 3 of 3"),
        (lambda recipes, data, runs: [], 3, "fit_many returned list; it must yield epochs"),
        (silent, 1, "fit_many ended after 0 of 3 epochs without any scores"),
    ],
)
def test_a_broken_batch_fails(plan, many, failed, said):
    """What breaks the whole batch fails every run that is still in it; failure.json says why."""
    study = run_search(plan(many=many, batch=3, same=SAME, trials=1, epochs=3))
    broken = [t for t in study.trials if t.state == "failed"]
    assert len(broken) == failed
    for trial in broken:
        told = json.loads((study.path / "trials" / f"{trial.number:05d}" / "failure.json").read_text())
        assert told["kind"] == "plugin"
        assert said in told["reason"]


def test_a_batch_that_failed_counts_once_towards_five_in_a_row(plan):
    """Five batches that fail alike stop the study; one batch of many trials does not."""
    assert len(run_search(plan(many=raising, batch=8, same=SAME, trials=4, epochs=3)).trials) == 32
    with pytest.raises(AutotuneError, match="5 trials in a row failed alike"):
        run_search(plan(many=raising, batch=8, same=SAME, trials=9, epochs=3, name="other"))


def test_checkpoints_are_thinned_out(plan):
    """After a batch, only the best few trials and the leader's end keep theirs."""
    study = run_search(plan(batch=16, same=SAME, trials=2, epochs=4, pruner="none"))
    left = list(study.path.glob("trials/*/*/checkpoint-*.safetensors"))
    assert 1 <= len(left) <= 6
    assert study.path / study.leader.curve[-1].checkpoint in left
    assert not list(study.path.glob("trials/*/*/.*part"))


def test_a_follower_that_leads_is_trained_longer(plan, fake_many, fake_fit, monkeypatch):
    """At the end of the time the best trial goes on alone from what its batch saved, even if another led it."""
    monkeypatch.setattr(drawing, "FULL", 6.0)

    def many(recipes, data, runs):
        for told in fake_many(recipes, data, runs):
            time.sleep(0.25)
            yield told

    def fit(recipe, data, run):
        for epoch in fake_fit(recipe, data, run):
            time.sleep(0.1)
            yield epoch

    study = run_search(plan(fit, many=many, batch=6, same=SAME, time=6.0, epochs=5, pruner="none"))
    finals = [t for t in study.trials if t.stage == "final"]
    assert len(finals) >= 1
    parent = study.trial(finals[0].parent)
    assert parent.value == max(t.value for t in study.trials if t.batch == parent.batch)
    assert finals[0].recipe == parent.recipe
    assert finals[0].batch is None
    assert finals[0].curve[0].at == 6


def test_the_members_are_in_the_journal(plan):
    """What is trained together stands in a study of the journal of its own, with parameters and values."""
    study = run_search(plan(batch=4, same=SAME, trials=1, epochs=2, pruner="none"))
    journal = open_journal(study.path, study.objective)
    members = journal.members.get_trials(deepcopy=False)
    assert [t.user_attrs["number"] for t in members] == [1, 2, 3]
    assert [t.value for t in members] == [study.trial(n).value for n in (1, 2, 3)]
    assert [t.params["x"] for t in members] == [study.trial(n).sampled["x"] for n in (1, 2, 3)]
    names = {s.study_name for s in journal.search._storage.get_all_studies()}
    assert {SEARCH, MEMBERS} <= names
