"""The look at candidates before the search: what it decides, what it costs, what a death leaves of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import replace

import pytest

from autotune import OutOfMemory, Screening, hookimpl
from autotune.engine import run_search, search, snapshot
from autotune.engine.pacing import cost
from autotune.errors import Interrupted

SCORES = {"net/a": 0.7, "net/b": 0.9, "net/c": 0.5, "net/d": 0.88}


class Looks:
    """Says of every candidate what the test says, and remembers who asked."""

    def __init__(self, scores=SCORES, *, before=None):
        self.scores, self.before, self.asked = scores, before, []

    def __call__(self, recipe, data, run):
        self.asked.append(recipe.backbone)
        assert run.backbone.name == recipe.backbone
        if self.before is not None:
            answer = self.before(recipe, run)
            if answer is not None:
                return answer
        score = self.scores[recipe.backbone]
        return Screening(images=400, seconds=0.001, scores={"knn": score - 0.02, "linear": score + 0.02})


def told(study):
    """What must be the same when a study is run again: everything but times and attempts."""
    return [
        (t.number, t.stage, t.state, dict(t.recipe), t.seed, t.value, [(p.at, p.metrics) for p in t.curve])
        for t in study.trials
    ]


def fates(study):
    """State by candidate."""
    return {t.recipe["backbone"]: t.state for t in study.screened}


def test_the_best_candidates_are_searched_first(netted):
    """Every candidate is looked at once, the cheapest first; what is clearly worse is left out, and it says why."""
    looks = Looks()
    study = run_search(netted(look=looks, trials=3, backbones=["net/d", "net/a", "net/b", "net/c"]))
    assert looks.asked == ["net/a", "net/b", "net/c", "net/d"]
    assert study.config["backbones"] == ["net/b", "net/d"]
    assert [t.recipe["backbone"] for t in study.trained[:2]] == ["net/b", "net/d"]
    assert {t.recipe["backbone"] for t in study.trained} <= {"net/b", "net/d"}
    reasons = study.config["made"]["reasons"]
    assert any(r.startswith("net/b: knn 0.880, linear 0.920, 1 ms an image: tried first") for r in reasons)
    assert any(r.startswith("net/c: ") and "left out: 0.400 behind the best" in r for r in reasons)
    assert study.config["made"]["weights"] == {"net/b": "digest-b", "net/d": "digest-d"}


def test_costs_are_compared_at_the_studys_own_size(netted):
    """What a model that was trained on small images costs is known at those; the same network costs the same again."""
    plan = netted(trials=1, backbones=["net/a", "net/b"])
    small = plan.backbones["net/a"]
    facts = replace(small.facts, input_size=8, cost=plan.backbones["net/b"].facts.cost / 16)
    plan = replace(plan, backbones={**plan.backbones, "net/a": type(small)(facts, small.weights)})
    assert cost(plan, "net/a") < cost(plan, "net/b")
    plan = replace(plan, fixed={**plan.fixed, "img_size": 64})
    assert cost(plan, "net/a") == cost(plan, "net/b") == 8.0


def test_a_screening_is_a_trial_that_counts_for_nothing(netted):
    """It has a number, a folder, a line of scores and its time; no value, so that it is never the best."""
    study = run_search(netted(look=Looks(dict.fromkeys(SCORES, 0.97)), trials=2))
    looks = study.screened
    ended = [(t.number, t.state, t.stage, t.value) for t in looks]
    assert ended == [(number, "complete", "screen", None) for number in range(3)]
    scores = {"knn": pytest.approx(0.95), "linear": pytest.approx(0.99)}
    assert looks[0].screening == Screening(images=400, seconds=0.001, scores=scores)
    assert looks[0].seconds > 0
    assert (study.path / "trials" / "00000" / "recipe.toml").is_file()
    assert [(t.number, t.stage) for t in study.trained] == [(3, "search"), (4, "search")]
    assert study.state == "done"
    assert study.leader.stage == "search"
    read = snapshot(study.path, lambda folder, device: None)
    assert read.trials == study.trials


def test_two_are_searched_however_bad_the_others_are(netted):
    """The next best comes back, and the reason is told."""
    study = run_search(netted(look=Looks({"net/a": 0.1, "net/b": 0.95, "net/c": 0.2}), trials=2))
    assert study.config["backbones"] == ["net/b", "net/c"]
    assert any("so that there are 2" in reason for reason in study.config["made"]["reasons"])


def test_going_on_looks_at_nothing_again(netted):
    """The same call, and a larger total, keep what was settled."""
    looks = Looks()
    run_search(netted(look=looks, trials=2))
    study = run_search(netted(look=looks, trials=4))
    assert len(looks.asked) == 3
    assert len(study.trained) == 4
    assert len([r for r in study.config["made"]["reasons"] if r.startswith("net/b")]) == 1


def test_after_a_death_only_the_open_look_is_taken_again(netted, tmp_path):
    """What was seen is kept; the study ends like one that was left alone."""

    def die_once(recipe, run):
        if recipe.backbone == "net/b" and looks.asked.count("net/b") == 1:
            raise SystemExit

    looks = Looks(before=die_once)
    with pytest.raises(SystemExit):
        run_search(netted(look=looks, trials=3, runs=tmp_path / "a"))
    open_ = snapshot(tmp_path / "a" / "study", lambda folder, device: None)
    assert fates(open_) == {"net/a": "complete", "net/b": "running"}
    assert open_.state == "open"
    study = run_search(netted(look=looks, trials=3, runs=tmp_path / "a"))
    assert looks.asked == ["net/a", "net/b", "net/b", "net/c"]
    assert [t.attempts for t in study.screened] == [1, 2, 1]
    assert told(study) == told(run_search(netted(look=Looks(), trials=3, runs=tmp_path / "b")))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_kill_9_the_screening_goes_on(netted, tmp_path):
    """A process killed within a look leaves the finished ones; the next call does the rest."""

    def wait(recipe, run):
        if recipe.backbone == "net/b":
            (tmp_path / "waiting").touch()
            time.sleep(60)

    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=lambda: run_search(netted(look=Looks(before=wait), trials=3)))
    child.start()
    began = time.monotonic()
    while not (tmp_path / "waiting").exists():
        assert time.monotonic() - began < 60
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    looks = Looks()
    study = run_search(netted(look=looks, trials=3))
    assert looks.asked == ["net/b", "net/c"]
    assert fates(study) == dict.fromkeys(("net/a", "net/b", "net/c"), "complete")
    assert told(study) == told(run_search(netted(look=Looks(), trials=3, runs=tmp_path / "calm")))


def test_a_look_that_dies_again_and_again_is_lost(netted):
    """After five deaths the candidate counts as one that cannot be used, and the search goes on."""

    def die(recipe, run):
        if recipe.backbone == "net/c":
            raise SystemExit

    for _ in range(5):
        with pytest.raises(SystemExit):
            run_search(netted(look=Looks(before=die), trials=2))
    study = run_search(netted(look=Looks(before=die), trials=2))
    assert fates(study)["net/c"] == "failed"
    assert study.screened[2].failure.kind == "lost"
    assert study.config["backbones"] == ["net/b", "net/a"]


def test_a_signal_stops_the_screening_and_settles_nothing(netted):
    """The candidates stay until all were looked at; the one that was stopped is looked at again."""

    def stop(recipe, run):
        if recipe.backbone == "net/b":
            signal.raise_signal(signal.SIGINT)
            assert run.stop() == "pause"
            stopped.append(True)

    stopped = []
    looks = Looks(before=stop)

    def until_stopped(recipe, data, run):
        answer = looks(recipe, data, run)
        return None if run.stop() else answer

    with pytest.raises(Interrupted, match="stopped by SIGINT"):
        run_search(netted(look=until_stopped, trials=2))
    open_ = snapshot(netted(trials=2).path, lambda folder, device: None)
    assert stopped
    assert open_.config["backbones"] == ["net/a", "net/b", "net/c"]
    assert open_.screened[1].reason.startswith("waits: SIGINT")
    study = run_search(netted(look=Looks(), trials=2))
    assert [t.attempts for t in study.screened] == [1, 2, 1]
    assert study.screened[1].reason is None


def test_a_death_before_the_first_trial_keeps_what_was_settled(netted, monkeypatch):
    """The narrowed candidates and their order come back from study.toml; nobody is looked at again."""

    class Death(BaseException):
        pass

    def die(context):
        raise Death

    looks, first = Looks(), [{"x": 0.9}, {"x": 0.1, "n": 7}]
    with monkeypatch.context() as patch:
        patch.setattr(search, "begin_journal", die)
        with pytest.raises(Death):
            run_search(netted(look=looks, trials=4, first=first))
    study = run_search(netted(look=looks, trials=4, first=first))
    assert len(looks.asked) == 3
    tried = [(t.recipe["backbone"], t.recipe["x"]) for t in study.trained[:3]]
    assert tried == [("net/b", 0.9), ("net/a", 0.9), ("net/b", 0.1)]


def test_a_candidate_that_cannot_be_used_is_left_out(netted):
    """Its failure has a kind and a reason; it stops nothing and counts for nothing."""

    def refuse(recipe, run):
        if recipe.backbone == "net/b":
            raise OutOfMemory("8 GiB are not enough")

    study = run_search(netted(look=Looks({"net/a": 0.7, "net/c": 0.69}, before=refuse), trials=2))
    assert study.screened[1].failure.kind == "oom"
    assert study.config["backbones"] == ["net/a", "net/c"]
    reasons = study.config["made"]["reasons"]
    assert "net/b: left out: could not be looked at (oom: 8 GiB are not enough)" in reasons
    assert [t.state for t in study.trained] == ["complete", "complete"]


def test_where_nobody_can_be_looked_at_all_stay(netted):
    """A trainer that says nothing of any candidate leaves them as they were named."""
    study = run_search(netted(look=None, trials=2))
    assert fates(study) == dict.fromkeys(("net/a", "net/b", "net/c"), "pruned")
    assert study.config["backbones"] == ["net/a", "net/b", "net/c"]
    assert study.screened[0].reason == "trainer 'fake' (plugin fake) says nothing of it"


def test_a_trainer_says_why_it_says_nothing(netted):
    """Its note is the reason that people are shown."""

    def note(recipe, data, run):
        run.note("not looked at: its head reads no vector")

    study = run_search(netted(look=note, trials=1))
    assert [t.reason for t in study.screened] == ["not looked at: its head reads no vector"] * 3
    assert "net/a: not looked at: its head reads no vector: kept" in study.config["made"]["reasons"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (0.9, "screen returned float, not an autotune.Screening"),
        (Screening(images=0, seconds=0.1, scores={"knn": 0.5}), "images=0"),
        (Screening(images=9, seconds=float("nan"), scores={"knn": 0.5}), "seconds=nan"),
        (Screening(images=9, seconds=0.1, scores={}), "no scores"),
        (Screening(images=9, seconds=0.1, scores={"knn": 87}), "the score knn=87"),
        (Screening(images=9, seconds=0.1, scores={"seconds_per_image": 0.5}), "the score seconds_per_image"),
    ],
)
def test_a_wrong_answer_is_the_plugins_mistake(netted, answer, said):
    """The candidate's failure names the trainer and what it said."""
    study = run_search(netted(look=lambda recipe, data, run: answer, trials=1))
    failure = study.screened[0].failure
    assert (failure.kind, said in failure.reason) == ("plugin", True)
    assert failure.reason.startswith("trainer 'fake' (plugin fake): screen returned")
    assert study.state == "done"


def test_looking_takes_a_tenth_of_the_time_at_most(netted):
    """Who is not looked at for want of time stays as the prior ranks it, and that is said."""

    def wait(recipe, run):
        time.sleep(0.5)

    looks = Looks(before=wait)
    study = run_search(netted(look=looks, trials=2, time=24.0))
    assert looks.asked == ["net/a"]
    assert study.config["backbones"] == ["net/a", "net/b"]
    reasons = study.config["made"]["reasons"]
    assert any(r.startswith("net/b: not looked at, for looking at candidates may take a tenth") for r in reasons)
    assert any(r.startswith("net/c: not looked at") and "left out: there is room for 2" in r for r in reasons)


def test_a_look_that_takes_too_long_is_cut_short(netted):
    """Its run says deadline; the look is over, and is not taken again."""

    def dawdle(recipe, run):
        if recipe.backbone == "net/a":
            while run.stop() is None:
                time.sleep(0.01)

    looks = Looks(before=dawdle)

    def obedient(recipe, data, run):
        answer = looks(recipe, data, run)
        return None if run.stop() else answer

    began = time.monotonic()
    study = run_search(netted(look=obedient, trials=2, time=24.0))
    assert time.monotonic() - began < 6
    assert fates(study) == {"net/a": "pruned"}
    assert study.screened[0].reason.startswith("not looked at to the end, for looking at candidates may take a tenth")
    assert study.config["backbones"] == ["net/a", "net/b", "net/c"]


@pytest.mark.parametrize("wish", [{"screen": False}, {"pretrained": False}, {"backbones": ["net/a"]}])
def test_nobody_is_looked_at_where_that_is_not_wanted(netted, wish):
    """Switched off, from random weights, with one candidate."""
    looks = Looks()
    study = run_search(netted(look=looks, trials=2, **wish))
    assert looks.asked == []
    assert study.screened == ()


def test_a_trainer_that_does_not_screen_is_not_asked(netted, monkeypatch):
    """No trial is made for the default answer."""
    plan = netted(look=Looks(), trials=2)
    monkeypatch.delattr(type(plan.trainer.build()), "screen")
    assert run_search(plan).screened == ()


def test_a_search_that_has_begun_is_not_screened(netted, monkeypatch):
    """A study of an older autotune goes on with the candidates that its sampler knows."""
    with monkeypatch.context() as patch:
        patch.setattr(search, "settle", lambda context: None)
        run_search(netted(look=Looks(), trials=2))
    looks = Looks()
    study = run_search(netted(look=looks, trials=4))
    assert looks.asked == []
    assert study.config["backbones"] == ["net/a", "net/b", "net/c"]


def test_several_goals_do_not_matter_to_it(netted):
    """Screenings have scores of their own, whatever the study optimises."""
    study = run_search(netted(look=Looks(), trials=2, metric=["accuracy", "cost:minimize"], limits={"cost": 2.0}))
    assert fates(study) == dict.fromkeys(("net/a", "net/b", "net/c"), "complete")
    assert study.leader is not None


def test_observers_are_told_of_looks_too(netted):
    """The study's start comes first; each look starts, brings its scores and ends; then the trials come."""
    seen = []

    class Observer:
        @hookimpl
        def autotune_study_started(self, study):
            seen.append("study")

        @hookimpl
        def autotune_trial_started(self, study, trial):
            seen.append(("start", trial.number, trial.stage, trial.state))

        @hookimpl
        def autotune_epoch_finished(self, study, trial, epoch):
            if trial.stage == "screen":
                seen.append(("epoch", trial.number, trial.stage, dict(epoch.metrics)["knn"]))

        @hookimpl
        def autotune_trial_finished(self, study, trial):
            seen.append(("end", trial.number, trial.stage, trial.state))

    run_search(netted(look=Looks(), trials=1, backbones=["net/a", "net/b"], observers=[Observer()]))
    assert seen[:4] == [
        "study",
        ("start", 0, "screen", "running"),
        ("epoch", 0, "screen", pytest.approx(0.68)),
        ("end", 0, "screen", "complete"),
    ]
    assert seen[-2:] == [("start", 2, "search", "running"), ("end", 2, "search", "complete")]
