"""The choice among finalists."""

from __future__ import annotations

import time

import pytest

from autotune.after.choosing import choose, held_out, pooled_predictions
from autotune.after.finalists import finalists
from autotune.plan import reopen
from autotune.plugins import load_plugins
from autotune.vision.metrics import score


@pytest.fixture
def plan(folder):
    """The finished study's plan."""
    return reopen(folder, load_plugins())


def test_the_pooled_score_decides(plan, study):
    """Whatever the order on val, the finalist with the best score on val and select together is chosen."""
    candidates = finalists(study)
    chosen = choose(plan, candidates)
    again = choose(plan, candidates[::-1])
    assert chosen.scored == len(candidates) == 3
    assert chosen.pooled["accuracy"] == again.pooled["accuracy"]
    for candidate in candidates:
        alone = choose(plan, [candidate])
        assert alone.pooled["accuracy"] <= chosen.pooled["accuracy"]


def test_the_scores_are_those_of_the_images(plan, study):
    """Pooled and select scores agree with scoring the model's predictions."""
    chosen = choose(plan, finalists(study))
    sides = held_out(plan)
    probabilities, labels = pooled_predictions(chosen.model, sides)
    assert len(sides) == 2
    assert len(labels) == sum(len(side) for side in sides)
    assert score(probabilities, labels) == pytest.approx(chosen.pooled)
    assert score(probabilities[-len(sides[1]) :], sides[1].labels) == pytest.approx(chosen.select)


def test_the_deadline_spares_further_finalists(plan, study):
    """When time is up the first finalist is scored still, and no other."""
    chosen = choose(plan, finalists(study), deadline=time.monotonic())
    assert chosen.scored == 1
    assert chosen.finalist == finalists(study)[0]


def test_without_candidates_nothing_is_chosen(plan):
    """No finalists, no choice."""
    assert choose(plan, []) is None
