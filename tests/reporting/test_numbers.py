"""Numbers from a study."""

from __future__ import annotations

import dataclasses

import autotune
from autotune.objective import Goal, Objective
from autotune.reporting.numbers import counts, effects, epochs, ranking, seconds_by_state, selected


def test_the_ranking_has_scored_trials_only(mixed):
    """Best first; a failed trial has no rank."""
    assert [t.number for t in ranking(mixed)] == [1, 0, 4, 2]


def test_lower_is_better_where_the_goal_says_so(mixed):
    """The ranking follows the goal's direction."""
    turned = dataclasses.replace(mixed, objective=Objective((Goal("accuracy", "minimize"),)))
    assert [t.number for t in ranking(turned)] == [2, 4, 0, 1]


def test_counts_and_times_by_state(mixed):
    """Trials and seconds are told apart by state."""
    assert counts(mixed) == {"complete": 2, "pruned": 1, "failed": 1, "running": 1}
    assert seconds_by_state(mixed) == {"complete": 21.0, "pruned": 12.0, "failed": 13.0, "running": 14.0}
    assert epochs(mixed.trials[0]) == 2
    assert epochs(mixed.trials[3]) == 0


def test_what_mattered(mixed):
    """Every hyperparameter that differed has groups with best and median score; one that did not is left out."""
    found = {e.name: e for e in effects(mixed)}
    assert found.keys() == {"backbone", "lr"}
    a, b = found["backbone"].groups
    assert (a.value, a.trials, a.best, a.middle) == ("timm/a", 2, 0.8, 0.65)
    assert (b.value, b.trials, b.best, b.middle) == ("timm/b", 2, 0.9, 0.8)
    assert [g.value for g in found["lr"].groups] == ["0.001 .. 0.01", "0.03 .. 0.1"]


def test_the_widest_apart_come_first(study):
    """Effects are sorted by the distance between their groups."""
    spreads = [e.spread for e in effects(study)]
    assert spreads == sorted(spreads, reverse=True)


def test_trials_by_state_and_by_value(mixed):
    """Sorted by value, trials without a score come last; a state keeps its own only."""
    assert [t.number for t in selected(mixed, by_value=True)] == [1, 0, 4, 2, 3]
    assert [t.number for t in selected(mixed, state="pruned")] == [2]


def test_nothing_at_all():
    """A study without trials has no ranking and no effects."""
    study = autotune.Study(
        name="x", path=None, state="open", objective=Objective((Goal.of("accuracy"),)), trials=(), best=None,
        config={}, spent=0.0,
    )  # fmt: skip
    assert ranking(study) == ()
    assert effects(study) == ()
    assert counts(study) == {}
