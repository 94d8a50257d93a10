"""Goals, limits, and every comparison of scores."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

import autotune
from autotune import Goal, Limit, Objective

UP, DOWN = Goal("accuracy", "maximize"), Goal("log_loss", "minimize")
SCORES = st.floats(allow_nan=True, allow_infinity=True)


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("accuracy", UP),
        ("log_loss", DOWN),
        ("balanced_accuracy", Goal("balanced_accuracy", "maximize")),
        ("macro_f1", Goal("macro_f1", "maximize")),
        ("auroc", Goal("auroc", "maximize")),
        ("cohen_kappa", Goal("cohen_kappa", "maximize")),
        ("auc:maximize", Goal("auc", "maximize")),
        ("latency_ms:minimize", Goal("latency_ms", "minimize")),
    ],
)
def test_directions_are_known_or_said(text, goal):
    """The six common metrics have a direction; others say theirs."""
    assert Goal.of(text) == goal


@pytest.mark.parametrize("text", ["auc", "accuracy:up", "auc:", ""])
def test_a_metric_without_a_direction_is_refused(text):
    """A metric whose direction nobody knows is an error that says how to write it."""
    with pytest.raises(autotune.UsageError):
        Goal.of(text)


@given(SCORES, SCORES)
def test_better_is_strict(a, b):
    """At most one of two scores is better than the other, and never one that is nan."""
    for goal in (UP, DOWN):
        assert not (goal.better(a, b) and goal.better(b, a))
        assert not goal.better(a, a)
        assert not (math.isnan(a) and goal.better(a, b))
    assert UP.better(a, b) == DOWN.better(b, a) or math.isnan(a) or math.isnan(b)


@given(st.lists(SCORES, min_size=1))
def test_nothing_beats_the_best(scores):
    """The best score is one of the scores, and none is better."""
    if all(math.isnan(s) for s in scores):
        with pytest.raises(ValueError, match="empty"):
            UP.best(scores)
        return
    for goal in (UP, DOWN):
        best = goal.best(scores)
        assert best in scores
        assert goal.rank(best, scores) == 0


def test_rank_counts_those_ahead():
    """The rank is the number of scores that are strictly better."""
    assert UP.rank(0.5, [0.5, 0.6, 0.4, 0.9, math.nan]) == 2
    assert DOWN.rank(0.5, [0.5, 0.6, 0.4]) == 1


def test_a_study_needs_a_metric():
    """An objective without a goal is refused."""
    with pytest.raises(autotune.UsageError):
        Objective(())


def test_what_a_trainer_must_report():
    """Goals and limits name every metric once, the main goal first."""
    objective = Objective((UP, DOWN), (Limit("params", 5e6), Limit("log_loss", 1.0)))
    assert objective.main is UP
    assert objective.metrics == ("accuracy", "log_loss", "params")
    assert objective.values({"log_loss": 0.3, "accuracy": 1, "params": 2}) == (1.0, 0.3)


def test_limits_come_first():
    """Whatever breaks a limit loses against what keeps it; a limit that is exactly reached is kept."""
    objective = Objective((UP,), (Limit("ms", 10),))
    kept, broken = {"accuracy": 0.5, "ms": 10}, {"accuracy": 0.9, "ms": 10.5}
    assert objective.excess(broken) == (0.5,)
    assert objective.feasible(kept)
    assert not objective.feasible({"accuracy": 1, "ms": math.nan})
    assert objective.better(kept, broken)
    assert not objective.better(broken, kept)
    assert objective.best([("a", broken), ("b", kept), ("c", {"accuracy": 0.6, "ms": 1})]) == "c"


def test_the_first_of_equals_is_best():
    """Equal metrics leave the earlier one in place; of nothing, nothing is best."""
    objective = Objective((DOWN,))
    assert objective.best([("a", {"log_loss": 1}), ("b", {"log_loss": 1})]) == "a"
    assert objective.best([("a", {"log_loss": math.nan}), ("b", {"log_loss": 9})]) == "b"
    assert objective.best([]) is None


def test_a_metric_of_a_task_is_better_where_the_plain_one_is():
    """``pets/accuracy`` rises and ``pets/log_loss`` falls; one that nobody knows still needs its direction."""
    assert Goal.of("pets/accuracy") == Goal("pets/accuracy", "maximize")
    assert Goal.of("pets/log_loss").direction == "minimize"
    assert Goal.of("pets/accuracy:minimize") == Goal("pets/accuracy", "minimize")
    with pytest.raises(autotune.UsageError, match="is not one of"):
        Goal.of("pets/latency")


def test_ranking_agrees_with_every_comparison():
    """What is ranked before another beats it or equals it: feasible before not, nan last, equals in their order."""
    objective = Objective((Goal.of("accuracy"),), (Limit("cost", 1.0),))
    scores = [(a, c) for a in (0.5, float("nan"), 0.9, 0.5) for c in (0.5, 2.0)]
    pairs = [(place, {"accuracy": a, "cost": c}) for place, (a, c) in enumerate(scores)]
    metrics = dict(pairs)
    ranked = objective.ranked(pairs)
    assert ranked == [4, 0, 6, 2, 5, 1, 7, 3]
    for first, second in pairwise(ranked):
        assert not objective.better(metrics[second], metrics[first])
    assert objective.best(pairs) == ranked[0]
