"""Batches: trials that are trained together."""

from __future__ import annotations

import json
import signal
from typing import Annotated

import numpy as np
import optuna
import pytest
from pydantic import Field, model_validator

import autotune
from autotune import Diverged, Epoch, Float, Int, Recipe
from autotune.engine import run_search
from autotune.engine.batch import TOLD
from autotune.engine.context import COPY_OF
from autotune.engine.drawing import NEAR, even_points
from autotune.engine.recipes import TrialPlan
from autotune.engine.search import read
from autotune.engine.storage import MEMBERS, SEARCH, open_journal
from autotune.errors import AutotuneError, Interrupted

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


def weights(study):
    """The last tensors of the best trials, bit by bit."""
    best = sorted(study.trials, key=lambda t: -(t.value or 0))[:3]
    paths = [study.path / t.curve[-1].checkpoint for t in best if t.curve[-1].checkpoint]
    assert paths
    return [{n: v.tobytes() for n, v in autotune.read_checkpoint(path).tensors().items()} for path in paths]


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


def test_what_fills_a_batch_depends_on_the_seed_alone(plan, tmp_path):
    """The same study draws the same batch, another seed another one; the good recipes to try first stay as they are."""
    make = lambda runs, **more: run_search(  # noqa: E731
        plan(batch=6, trials=2, epochs=1, runs=tmp_path / runs, first=[{"x": 0.25, "n": 5}], **more)
    )
    one, two, three = make("a"), make("b"), make("c", seed=7)
    assert curves(one) == curves(two)
    assert (one.trials[0].recipe["x"], one.trials[0].recipe["n"]) == (0.25, 5)
    assert [t.recipe for t in one.trials] != [t.recipe for t in three.trials]


def test_half_of_a_batch_lies_near_its_leader(plan):
    """Every other member is at most an eighth of the range away, the rest are spread over it."""
    study = run_search(plan(batch=64, same=SAME, trials=1, epochs=1, pruner="none"))
    lead, *rest = [t.recipe["x"] for t in study.trials]
    assert len(rest) == 63
    assert all(abs(x - lead) <= NEAR + 1e-9 for x in rest[1::2])
    far = np.sort(rest[::2])
    assert np.diff([0, *far, 1]).max() < 0.1


def test_points_are_even():
    """In every dimension, 64 points leave no large gap, and another seed begins elsewhere."""
    points = even_points(64, 6, seed=3)
    assert points.shape == (64, 6)
    assert ((points >= 0) & (points < 1)).all()
    for column in points.T:
        assert np.diff(np.concatenate([[0], np.sort(column), [1]])).max() < 0.12
    assert not np.array_equal(points, even_points(64, 6, seed=4))


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


def test_time_is_shared_out(plan, fake_many):
    """The seconds of a batch's trials add up to what it took, so that reports do not count it many times."""
    import time

    def many(recipes, data, runs):
        for told in fake_many(recipes, data, runs):
            time.sleep(0.1)
            yield told

    study = run_search(plan(many=many, batch=8, same=SAME, trials=1, epochs=4, pruner="none"))
    total = sum(t.seconds for t in study.trials)
    assert 0.4 <= total <= study.spent
    assert sum(p.seconds for t in study.trials for p in t.curve) == pytest.approx(total, rel=0.2)


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


class Picky(Recipe):
    """Refuses some combinations, and says in which batch it may be."""

    x: Annotated[float, Float(0.0, 1.0)] = Field(0.5, description="The higher the better.")
    n: Annotated[int, Int(1, 9)] = Field(5, description="Above 6 it is trained alone.")

    @model_validator(mode="after")
    def _check(self):
        if self.x > 0.9:
            raise ValueError("x is too high")
        return self


def test_what_does_not_fit_is_left_out(plan):
    """Members that the recipe refuses, or that could not be trained together, are not made."""
    size = lambda recipe: 16 if recipe.n <= 6 else 1  # noqa: E731
    study = run_search(plan(offered=Picky, batch=size, trials=1, epochs=1, sampler="random"))
    assert 2 < len(study.trials) < 16
    assert all(t.recipe["x"] <= 0.9 and t.recipe["n"] <= 6 for t in study.trials)
    assert {t.state for t in study.trials} == {"complete"}


@pytest.mark.parametrize("how", ["one", "nothing varies", "fixed"])
def test_who_has_no_batch_is_trained_alone(plan, how):
    """Where the trainer takes one, or nothing outside `same` is searched, `fit` is asked."""

    def many(recipes, data, runs):
        raise AssertionError("fit_many is not asked")

    asked = {
        "one": {"batch": lambda recipe: 1},
        "nothing varies": {"batch": 8, "same": ("x", "n")},
        "fixed": {"batch": 8, "same": ("n",), "fixed": {"x": 0.5}},
    }[how]
    study = run_search(plan(many=many, trials=2, epochs=1, **asked))
    assert [(t.state, t.batch) for t in study.trials] == [("complete", None)] * 2


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (lambda recipe: 1 // 0, "batch raised ZeroDivisionError"),
        (lambda recipe: 0.5, "batch returned 0.5, not a whole"),
    ],
)
def test_a_trainer_that_cannot_say_how_many_fails(plan, batch, said):
    """The trial fails, with what is wrong with the trainer's function."""
    (trial,) = run_search(plan(batch=batch, trials=1, epochs=1)).trials
    assert (trial.state, trial.failure.kind) == ("failed", "plugin")
    assert said in trial.failure.reason


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


@pytest.mark.parametrize("pruner", ["none", "halving"])
def test_ctrl_c_pauses_all_and_all_go_on_together(plan, fake_many, tmp_path, pruner):
    """After a signal every member waits; the next call resumes them, and ends as if nothing had been."""

    def many(recipes, data, runs):
        for told in fake_many(recipes, data, runs):
            if runs[0].resume is None and max(e.at for e in told.values()) == 2 and stop:
                signal.raise_signal(signal.SIGINT)
            yield told

    stop = True
    kind = {"many": many, "batch": 6, "same": SAME, "trials": 2, "epochs": 4, "pruner": pruner}
    with pytest.raises(Interrupted, match="stopped by SIGINT"):
        run_search(plan(runs=tmp_path / "a", **kind))
    study = read(tmp_path / "a" / "study", plan(name="other", trials=1).plugins)
    assert [(t.state, t.reason) for t in study.trials] == [("running", "waits: SIGINT came at epoch 2 of 4")] * 6
    stop = False
    study = run_search(plan(runs=tmp_path / "a", **kind))
    assert [t.attempts for t in study.trials] == [2] * 6 + [1] * 6
    whole = run_search(plan(runs=tmp_path / "b", **kind))
    assert curves(study) == curves(whole)
    assert weights(study) == weights(whole)


def test_the_deadline_cuts_all(plan, fake_many):
    """When the time is up every member waits with what it has."""
    import time

    def many(recipes, data, runs):
        for told in fake_many(recipes, data, runs):
            time.sleep(0.2)
            yield told

    study = run_search(plan(many=many, batch=4, same=SAME, time=3.0, epochs=500, pruner="none"))
    assert study.state == "done"
    assert [t.state for t in study.trials] == ["running"] * 4
    assert all("the time ran out" in t.reason and t.curve for t in study.trials)


class Death(BaseException):
    """The end of a process."""


def test_who_is_ahead_goes_back_to_the_others(plan, fake_many, tmp_path):
    """Killed while an epoch was recorded, or with a checkpoint lost, all resume at one epoch, and end the same."""
    died = []

    def many(recipes, data, runs):
        starts = {0.0 if run.resume is None else run.resume.facts["epochs_done"] for run in runs}
        assert len(starts) == 1
        died.append((len(runs), starts.pop()))
        yield from fake_many(recipes, data, runs)

    kind = {"many": many, "batch": 5, "same": SAME, "trials": 1, "epochs": 5, "pruner": "none"}
    from autotune.engine import working

    real, count = working.attempt.add_point, []

    def recording(folder, point, **more):
        count.append(point)
        if len(count) == 18:  # three epochs of five, and three points of the fourth
            raise Death
        real(folder, point, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(working.attempt, "add_point", recording)
        with pytest.raises(Death):
            run_search(plan(runs=tmp_path / "a", **kind))
    lost = tmp_path / "a" / "study" / "trials" / "00003" / "attempt-1" / "checkpoint-3.safetensors"
    lost.write_bytes(b"cut")
    study = run_search(plan(runs=tmp_path / "a", **kind))
    assert died == [(5, 0.0), (5, 2.0)]
    assert any("its bytes are not those" in note for note in study.trials[3].notes)
    whole = run_search(plan(runs=tmp_path / "b", **kind))
    assert curves(study) == curves(whole)
    assert weights(study) == weights(whole)


def test_who_has_nothing_to_go_on_from_is_trained_apart(plan, fake_many, tmp_path, monkeypatch):
    """A member that lost all its checkpoints begins anew; the others wait for it and then go on from theirs."""
    from autotune.engine import working

    monkeypatch.setattr(working, "SETTLE", 0.0)
    died = []

    def many(recipes, data, runs):
        start = 0.0 if runs[0].resume is None else runs[0].resume.facts["epochs_done"]
        died.append((len(runs), start))
        for told in fake_many(recipes, data, runs):
            if len(died) == 1 and told[0].at == 3:
                raise Death
            yield told

    kind = {"many": many, "batch": 3, "same": SAME, "trials": 1, "epochs": 4, "pruner": "none"}
    with pytest.raises(Death):
        run_search(plan(runs=tmp_path / "a", **kind))
    for path in (tmp_path / "a" / "study" / "trials" / "00001" / "attempt-1").glob("checkpoint-*"):
        path.unlink()
    study = run_search(plan(runs=tmp_path / "a", **kind))
    assert died == [(3, 0.0), (1, 0.0), (2, 2.0)]
    died.append("whole")
    assert curves(study) == curves(run_search(plan(runs=tmp_path / "b", **kind)))


@pytest.mark.parametrize(
    "where", ["claim_trial", "write", "add_trial", "begin", "finish", "conclude", "thin_study", "copy", "told"]
)
def test_a_batch_that_died_between_its_steps_goes_on(plan, tmp_path, where):
    """Wherever a search dies while it makes, ends or tells of a batch, the next call ends like an undisturbed one."""
    from autotune.engine import batch, concluding, working

    # a folder that a death left behind takes a number, and by its number a loser goes on as an audit
    pruner = "none" if where in ("write", "add_trial") else "halving"
    kind = {"batch": 4, "same": SAME, "trials": 2, "epochs": 4, "pruner": pruner}
    owner, name, survives = {
        "claim_trial": (batch.attempt, "claim_trial", 2),
        "write": (TrialPlan, "write", 2),
        "add_trial": (optuna.Study, "add_trial", 1),
        "begin": (working.attempt, "begin", 2),
        "finish": (working.attempt, "finish", 1),
        "conclude": (working, "conclude", 0),
        "thin_study": (concluding, "thin_study", 0),
        "copy": (batch, "_copy", 1),
        "told": (optuna.Study, "tell", 2),
    }[where]
    real, left = getattr(owner, name), [survives]

    def dying(*args, **more):
        if not left[0]:
            raise Death
        left[0] -= 1
        return real(*args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(Death):
            run_search(plan(runs=tmp_path / "a", **kind))
    study = run_search(plan(runs=tmp_path / "a", **kind))
    whole = run_search(plan(runs=tmp_path / "b", **kind))

    def told(found):
        place = {t.number: i for i, t in enumerate(found.trials)}
        return [
            (place.get(t.batch), t.state, t.seed, t.recipe, [(p.at, p.metrics) for p in t.curve]) for t in found.trials
        ]

    assert told(study) == told(whole)
    copies = [[t.params for t in searched(s) if COPY_OF in t.user_attrs] for s in (study, whole)]
    assert copies[0] == copies[1]


def test_what_the_disk_is_known_to_have_is_kept(plan, fake_many, monkeypatch):
    """While a batch runs, each keeps its newest two checkpoints, its best, and the newest that was waited for."""
    from autotune.engine import working

    held = []

    def many(recipes, data, runs):
        for told in fake_many(recipes, data, runs):
            monkeypatch.setattr(working, "SETTLE", 0.0 if told[0].at == 2 else 1e9)
            yield told
            held.append([sorted(path.name for path in run.folder.glob("*.safetensors")) for run in runs])

    run_search(plan(many=many, batch=3, same=SAME, trials=1, epochs=6, pruner="none"))
    assert held[4] == [[f"checkpoint-{n}.safetensors" for n in (2, 4, 5)]] * 3


def test_checkpoints_are_thinned_out(plan):
    """After a batch, only the best few trials and the leader's end keep theirs."""
    study = run_search(plan(batch=16, same=SAME, trials=2, epochs=4, pruner="none"))
    left = list(study.path.glob("trials/*/*/checkpoint-*.safetensors"))
    assert 1 <= len(left) <= 6
    assert study.path / study.leader.curve[-1].checkpoint in left
    assert not list(study.path.glob("trials/*/*/.*part"))


def test_a_follower_that_leads_is_trained_longer(plan, fake_many, fake_fit):
    """At the end of the time the best trial goes on alone from what its batch saved, even if another led it."""
    import time

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
