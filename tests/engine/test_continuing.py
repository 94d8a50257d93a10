"""The end of the time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autotune.engine import run_search
from autotune.engine.continuing import continuation, nearly_over, too_late
from autotune.objective import Goal, Objective
from autotune.study import Point, Study, Trial


def trial(number, seconds, *, first=None, state="complete", stage="search", value=0.5, parent=None, batch=None):
    """A trial of as many epochs as seconds are given."""
    times = list(seconds) if first is None else [first, *list(seconds)[1:]]
    curve = tuple(
        Point(at=i + 1, metrics={"accuracy": value}, images=1, seconds=s, checkpoint=f"c{i}")
        for i, s in enumerate(times)
    )
    metrics = {"accuracy": value}
    return Trial(
        number=number, state=state, stage=stage, curve=curve, value=value, metrics=metrics, parent=parent, batch=batch
    )


def study(*trials):
    """A study of trials."""
    objective = Objective((Goal("accuracy", "maximize"),))
    return Study(
        name="s", path=Path("s"), state="open", objective=objective, trials=trials, best=None, config={}, spent=0.0
    )


def test_it_is_too_late_for_what_cannot_reach_a_rung():
    """The quickest first rung so far decides; before any, the quickest epoch; before that, nothing."""
    assert not too_late(study(), 0.1)
    slow, quick = trial(0, [4, 4, 4, 4]), trial(1, [2, 2, 2], state="pruned")
    assert too_late(study(slow, quick), 5.9)
    assert not too_late(study(slow, quick), 6.1)
    begun = trial(2, [3, 3], state="running")
    assert too_late(study(begun), 2.9)
    assert not too_late(study(begun), 3.1)


def test_short_trials_count_whole():
    """A trial that ran to its end in fewer epochs than a rung counts with all of them."""
    assert too_late(study(trial(0, [2, 2])), 3.9)
    assert not too_late(study(trial(0, [2, 2])), 4.1)


def test_the_leader_gets_as_many_epochs_as_fit():
    """What its start took, and a margin, are left out; its training is tripled at most."""
    leader = trial(0, [1.0] * 8, first=3.0, value=0.9)
    others = trial(1, [1.0] * 8, value=0.8)
    assert continuation(study(leader, others), 6.0) == (leader, 11)
    assert continuation(study(leader, others), 100.0) == (leader, 24)
    assert continuation(study(leader, others), 2.9) is None


def test_who_cannot_be_continued():
    """Not a pruned or waiting trial, not one that was continued, not one without its last checkpoint."""
    good = trial(0, [1.0] * 4, value=0.9)
    assert continuation(study(good), 10.0) is not None
    assert continuation(study(replace(good, state="pruned")), 10.0) is None
    worse = trial(1, [1.0], stage="final", value=0.1, parent=0)
    assert continuation(study(good, worse), 10.0) is None
    assert continuation(study(good, replace(worse, value=0.95, metrics={"accuracy": 0.95})), 10.0) is not None
    bare = replace(good, curve=(*good.curve[:-1], replace(good.curve[-1], checkpoint=None)))
    assert continuation(study(bare), 10.0) is None
    assert continuation(study(), 10.0) is None


def test_the_end_begins_when_two_trainings_of_the_leader_no_longer_fit():
    """The leader's own time decides, not that of others; without a leader the end does not come."""
    leader, slow = trial(0, [1.0] * 4, value=0.9), trial(1, [9.0] * 4, value=0.8)
    assert nearly_over(study(leader, slow), 7.9)
    assert not nearly_over(study(leader, slow), 8.1)
    assert not nearly_over(study(), 0.1)


def test_a_batch_takes_what_all_of_it_takes():
    """A batch's trials have shares of its time; a new trial may be a batch again, and takes the sum."""
    batch = [trial(i, [1.0] * 4, batch=0, value=0.5 + i / 100) for i in range(8)]
    assert too_late(study(*batch), 23.0)
    assert not too_late(study(*batch), 25.0)
    assert nearly_over(study(*batch), 63.0)
    assert not nearly_over(study(*batch), 65.0)


def test_the_leader_of_a_batch_is_continued_within_its_batchs_time():
    """What an epoch takes alone is not known, but no more than what it took in the batch."""
    batch = [trial(i, [1.0] * 4, batch=0, value=0.5 + i / 100) for i in range(8)]
    assert continuation(study(*batch), 8.0) is None
    assert continuation(study(*batch), 18.0) == (batch[7], 6)


def test_without_a_time_nobody_asks_how_much_is_left(plan, monkeypatch):
    """A study that ends with its trials spends nothing on times."""

    def asked(*_):
        raise RuntimeError("asked")

    for name in ("too_late", "nearly_over", "continuation"):
        monkeypatch.setattr(f"autotune.engine.taking.{name}", asked)
    assert len(run_search(plan(trials=3, epochs=1)).trials) == 3
    with pytest.raises(RuntimeError, match="asked"):
        run_search(plan(trials=4, time=60.0, epochs=1))
