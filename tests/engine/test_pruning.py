"""Successive halving, on made-up curves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autotune.engine.pruning import NoPruner, SuccessiveHalving, agreement, make_pruner
from autotune.errors import UnknownName
from autotune.objective import Goal, Limit, Objective
from autotune.study import Point, Study, Trial

ACCURACY = Objective((Goal("accuracy", "maximize"),))


def trial(number, *scores, state="complete", stage="search", seed=None, batch=None, **others):
    """A trial whose accuracy after each epoch is given."""
    curve = tuple(
        Point(at=i + 1, metrics={"accuracy": s, **others}, images=1, seconds=1.0) for i, s in enumerate(scores)
    )
    metrics = max((p.metrics for p in curve), key=lambda m: m["accuracy"])
    return Trial(
        number=number,
        state=state,
        stage=stage,
        seed=number if seed is None else seed,
        batch=batch,
        curve=curve,
        value=metrics["accuracy"],
        metrics=metrics,
    )


def study(*trials, objective=ACCURACY):
    """A study of trials."""
    return Study(
        name="s", path=Path("s"), state="open", objective=objective, trials=trials, best=None, config={}, spent=0.0
    )


def decide(now, *others, pruner=None, objective=ACCURACY):
    """What halving says of a running trial among others."""
    return (pruner or SuccessiveHalving(audit=256)).decide(now, study(*others, now, objective=objective))


def running(number, *scores, **more):
    """A running trial that no audit protects."""
    return trial(number, *scores, state="running", seed=1, **more)


def test_the_best_half_goes_on():
    """At a rung, the better half of those that reached it goes on; the reason says rank and number."""
    others = [trial(i, 0.1, 0.2, 0.9 - i / 10) for i in range(5)]
    assert decide(running(9, 0.1, 0.2, 0.75), *others) is None
    stop = decide(running(9, 0.1, 0.2, 0.62), *others)
    assert stop.reason == "at epoch 3 its accuracy 0.62 ranks 4 of 6; the best half goes on"


def test_equal_scores_are_not_worse():
    """A trial that is as good as the best goes on."""
    assert decide(running(9, 0.1, 0.2, 0.9), *[trial(i, 0.1, 0.2, 0.9) for i in range(5)]) is None


def test_few_others_decide_nothing():
    """From four others on a trial is judged; a batch is one of them."""
    others = [*(trial(i, 0.9, 0.9, 0.9) for i in range(2)), *(trial(i, 0.9, 0.9, 0.9, batch=2) for i in range(2, 8))]
    assert decide(running(99, 0.1, 0.1, 0.1), *others) is None
    assert decide(running(99, 0.1, 0.1, 0.1), *others, trial(8, 0.9, 0.9, 0.9)) is not None


def test_only_rungs_decide():
    """Between the rungs nothing is stopped, and a later rung decides again."""
    others = [trial(i, *[0.9] * 6) for i in range(4)]
    for epochs in (1, 2, 4, 5):
        assert decide(running(9, *[0.1] * epochs), *others) is None
    assert decide(running(9, *[0.1] * 3), *others) is not None
    assert decide(running(9, *[0.1] * 6), *others).reason.startswith("at epoch 6")


def test_no_trial_is_judged_while_its_rates_rise():
    """The first rung comes after twice the warm-up, for each trial its own; with a short one it stays at three."""
    others = [trial(i, *[0.9] * 18) for i in range(4)]

    def first_stop(warmup):
        ends = (replace(running(9, *[0.1] * n), recipe={"warmup_epochs": warmup}) for n in range(1, 19))
        return next((now.curve[-1].at for now in ends if decide(now, *others) is not None), None)

    assert [first_stop(warmup) for warmup in (0.5, 1.5, 1.6, 4.1, 10.0)] == [3, 3, 4, 9, None]


def test_what_ended_by_itself_keeps_its_score_at_later_rungs():
    """A trial that is complete after three epochs, its patience over, is still one to beat at epoch six."""
    others = [trial(i, 0.7, 0.8, 0.9) for i in range(4)]
    assert decide(running(9, *[0.5] * 6), *others).reason.startswith("at epoch 6")
    stopped = [trial(i, 0.7, 0.8, 0.9, state="pruned") for i in range(4)]
    assert decide(running(9, *[0.5] * 6), *stopped) is None


def test_a_partial_epoch_over_a_rung_decides_once():
    """Epochs need not be whole: the first one at or beyond a rung decides."""
    points = tuple(Point(at=a, metrics={"accuracy": 0.1}, images=1, seconds=1.0) for a in (1.5, 2.9, 4.2))
    now = running(9, 0.1)
    now = type(now)(number=9, state="running", seed=1, curve=points)
    others = [trial(i, *[0.9] * 6) for i in range(3)]
    assert decide(now, *others) is None or decide(now, *others).reason.startswith("at epoch 3")
    assert SuccessiveHalving()._rung(now) == 3


def test_the_first_trial_is_never_stopped():
    """Whatever its scores are."""
    assert decide(running(0, 0.0, 0.0, 0.0), *[trial(i, 0.9, 0.9, 0.9) for i in (1, 2, 3)]) is None


def test_failed_and_final_trials_do_not_count():
    """Neither as competitors nor as the ones to stop."""
    bad = [trial(1, 0.9, 0.9, 0.9, state="failed"), trial(2, 0.9, 0.9, 0.9, stage="final")]
    assert decide(running(9, 0.1, 0.1, 0.1), trial(0, 0.1, 0.1, 0.1), *bad) is None
    assert decide(running(9, 0.1, 0.1, 0.1, stage="final"), *[trial(i, 0.9, 0.9, 0.9) for i in range(4)]) is None


def test_one_loser_in_eight_goes_on():
    """Audits are drawn by seed and number, the same ones every time."""
    others = [trial(i, 0.9, 0.9, 0.9) for i in range(4)]
    halving = SuccessiveHalving()
    kept = [
        n
        for n in range(10, 410)
        if decide(trial(n, 0.1, 0.1, 0.1, state="running", seed=77), *others, pruner=halving) is None
    ]
    assert 25 <= len(kept) <= 80
    assert all(decide(trial(n, *[0.1] * 3, state="running", seed=77), *others, pruner=halving) is None for n in kept)


def test_it_switches_itself_off_where_early_scores_mean_nothing():
    """Under an agreement of 0.5 over five or more finished trials nothing is stopped; four are too few to say."""
    liars = [trial(i, 0, 0, 0.9 - i / 10, 0.5, 0.5, 0.91 + i / 100) for i in range(5)]
    assert decide(running(9, 0.1, 0.1, 0.1), *liars) is None
    assert decide(running(9, 0.1, 0.1, 0.1), *liars[:4]) is not None
    honest = [trial(i, 0, 0, 0.4 + i / 10, 0.5, 0.5, 0.9 + i / 100) for i in range(5)]
    assert decide(running(9, 0.1, 0.1, 0.1), *honest) is not None


def test_the_agreement_is_of_scores_at_equal_epochs():
    """Trials whose first rungs differ by their warm-ups are compared where all of them have one."""
    rising = [trial(i, *[0.01 * i + 0.1 * epoch for epoch in range(12)]) for i in range(8)]
    mixed = [replace(t, recipe={"warmup_epochs": 4.0}) if t.number < 4 else t for t in rising]
    assert SuccessiveHalving().trusted(study(*rising))
    assert SuccessiveHalving().trusted(study(*mixed))


def test_smaller_can_be_better():
    """A metric that is minimised is ranked the other way round."""
    objective = Objective((Goal("accuracy", "minimize"),))
    others = [trial(i, 0.5, 0.5, 0.5) for i in range(4)]
    assert decide(running(9, 0.1, 0.1, 0.1), *others, objective=objective) is None
    assert decide(running(9, 0.9, 0.9, 0.9), *others, objective=objective) is not None


def test_several_goals_stop_only_what_is_worse_in_all():
    """With two goals, a trial counts as beaten by those that are worse in neither."""
    objective = Objective((Goal("accuracy", "maximize"), Goal("cost", "minimize")))
    others = [trial(i, 0.9, 0.9, 0.9, cost=5.0) for i in range(4)]
    assert decide(running(9, 0.1, 0.1, 0.1, cost=1.0), *others, objective=objective) is None
    assert decide(running(9, 0.1, 0.1, 0.1, cost=6.0), *others, objective=objective) is not None


def test_limits_come_first():
    """A trial beyond a limit is beaten by every one that keeps it."""
    objective = Objective((Goal("accuracy", "maximize"),), (Limit("cost", 2.0),))
    others = [trial(i, 0.5, 0.5, 0.5, cost=1.0) for i in range(4)]
    assert decide(running(9, 0.9, 0.9, 0.9, cost=3.0), *others, objective=objective) is not None


def test_agreement_is_kendalls_tau():
    """It agrees, disagrees, has no order at all; by hand: of 14 ordered pairs each, 9 agree and 4 do not."""
    assert agreement([1, 2, 3, 4], [1, 2, 3, 4]) == pytest.approx(1)
    assert agreement([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert agreement([1, 1, 1], [1, 2, 3]) == 0
    assert agreement([1, 2, 2, 5, 3, 4], [2, 1, 3, 3, 5, 4]) == pytest.approx(5 / 14)


def test_pruners_by_name():
    """``none`` never stops; an unknown name is an error with the near ones."""
    assert make_pruner("none").decide(running(9, 0.0, 0.0, 0.0), study(trial(0, 0.9, 0.9, 0.9))) is None
    assert isinstance(make_pruner("none"), NoPruner)
    with pytest.raises(UnknownName, match="halving"):
        make_pruner("halvin")


def test_a_batch_counts_as_its_best_to_others():
    """Sixty poor siblings do not lift a trial into the better half, and sixty good ones do not push one out of it."""
    poor = [trial(i, 0.1, 0.1, 0.1, batch=10) for i in range(10, 70)]
    better = [trial(i, 0.5, 0.5, 0.5) for i in range(4)]
    assert decide(running(99, 0.3, 0.3, 0.3), *better).reason.startswith("at epoch 3 its accuracy 0.3 ranks 5 of 5")
    stop = decide(running(99, 0.3, 0.3, 0.3), *better, *poor)
    assert stop.reason == "at epoch 3 its accuracy 0.3 ranks 5 of 6; the best half goes on"
    good = [trial(i, 0.9, 0.9, 0.9, batch=10) for i in range(10, 70)]
    worse = [trial(i, 0.1, 0.1, 0.1) for i in range(3)]
    assert decide(running(99, 0.3, 0.3, 0.3), *worse, *good) is None


def test_a_batch_is_halved_among_itself():
    """The better half of a batch goes on, whatever its number; the first trial of the study always does."""
    now = [running(i, 0.1, 0.2, score, batch=0) for i, score in enumerate((0.3, 0.5, 0.7, 0.6, 0.4, 0.8))]
    stops = SuccessiveHalving(audit=256).decide_many(now, study(*now))
    assert sorted(stops) == [1, 4]
    assert stops[4].reason == "at epoch 3 its accuracy 0.4 ranks 5 of 6 in its batch; the best half goes on"
    later = [running(t.number + 7, *[p.metrics["accuracy"] for p in t.curve], batch=7) for t in now]
    stops = SuccessiveHalving(audit=256).decide_many(later, study(trial(0, 0.0, 0.0, 0.0), *later))
    assert sorted(stops) == [7, 8, 11]


def test_the_best_of_a_batch_must_beat_others_too():
    """Members that lead their batch are stopped where the trials outside it are better."""
    others = [trial(i, 0.9, 0.9, 0.9) for i in range(4)]
    now = [running(i, 0.1, 0.2, 0.1 * i, batch=4) for i in range(4, 8)]
    stops = SuccessiveHalving(audit=256).decide_many(now, study(*others, *now))
    assert sorted(stops) == [4, 5, 6, 7]
    assert stops[7].reason == "at epoch 3 its accuracy 0.7 ranks 5 of 5; the best half goes on"


def test_one_decision_and_many_agree():
    """Deciding one by one says what deciding together says."""
    others = [trial(i, 0.2, 0.2, 0.1 * i) for i in range(6)]
    now = [running(i, 0.1, 0.2, 0.05 * i, batch=8) for i in range(8, 20)]
    pruner, found = SuccessiveHalving(), study(*others, *now)
    many = pruner.decide_many(now, found)
    assert many == {t.number: stop for t in now if (stop := pruner.decide(t, found))}
    assert 0 < len(many) < len(now)


def test_the_agreement_counts_a_batch_once():
    """Siblings that turn around at the end do not switch the rule off."""
    turned = [trial(i, 0, 0, 0.01 * i, 1 - 0.01 * i, batch=10) for i in range(10, 60)]
    steady = [trial(i, 0, 0, 0.1 * i, 0.1 * i) for i in range(6)]
    assert SuccessiveHalving().trusted(study(*turned))
    assert SuccessiveHalving().trusted(study(*steady, *turned))
    assert not SuccessiveHalving().trusted(study(*[trial(i, 0, 0, 0.1 * i, 1 - 0.1 * i) for i in range(6)]))


def test_the_best_of_a_batch_is_looked_for_once(monkeypatch):
    """However many trials are decided together, every other batch is compared within itself once."""
    best, looked = Objective.best, []

    def counting(self, pairs):
        looked.append(pairs)
        return best(self, pairs)

    monkeypatch.setattr(Objective, "best", counting)
    others = [trial(i, 0.1, 0.2, 0.01 * i, batch=i // 4 * 4) for i in range(16)]
    now = [running(i, 0.1, 0.2, 0.3, batch=16) for i in range(16, 48)]
    SuccessiveHalving().decide_many(now, study(*others, *now))
    assert len(looked) <= len(others) + 2 * len(now) + 5  # each curve, each decided one again, and five batches
