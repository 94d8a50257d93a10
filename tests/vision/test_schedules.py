"""Rates are functions of the steps done, and have the shapes that their papers give them."""

from __future__ import annotations

import itertools

import pytest

from autotune.vision import Schedule
from autotune.vision.schedules import LOW, LOWEST, RISE

STEPS, EPOCHS = 20, 10
TOTAL = STEPS * EPOCHS


def schedule(kind, *, warmup=0.5, **keys):
    """A schedule of ten epochs with twenty steps each."""
    return Schedule(kind=kind, steps_per_epoch=STEPS, epochs=EPOCHS, warmup=warmup, **keys)


def factors(kind, **keys):
    """The factors of all steps."""
    one = schedule(kind, **keys)
    return [one(step) for step in range(TOTAL)]


@pytest.mark.parametrize("kind", ["constant", "cosine", "onecycle", "step"])
def test_every_factor_is_above_nothing_and_reaches_the_peak(kind):
    """The rates that a recipe names are the largest ones, and no step of a training is taken for nothing."""
    found = factors(kind)
    assert all(0 < factor <= 1 for factor in found)
    assert max(found) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("kind", ["constant", "cosine", "step"])
def test_the_warm_up_rises_step_by_step(kind):
    """Over half an epoch of twenty steps the rates rise by a tenth each, as they do without a schedule."""
    assert factors(kind)[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])


def test_a_constant_rate_does_not_know_the_length():
    """After the warm-up nothing changes, however long the training is."""
    assert factors("constant")[10:] == [1.0] * (TOTAL - 10)
    longer = Schedule(kind="constant", steps_per_epoch=STEPS, epochs=3 * EPOCHS, warmup=0.5)
    assert [longer(step) for step in range(TOTAL)] == factors("constant")


def test_half_a_cosine_falls_to_nothing():
    """From the end of the warm-up it falls without a rise; half way it is a half, and in the end it is zero."""
    found = factors("cosine", warmup=0.0)
    assert all(later < before for before, later in itertools.pairwise(found))
    assert found[0] == 1.0
    assert found[TOTAL // 2] == pytest.approx(0.5)
    assert schedule("cosine", warmup=0.0)(TOTAL) == pytest.approx(0, abs=1e-12)
    warmed = schedule("cosine", warmup=2.0)
    assert warmed(2 * STEPS) == 1.0
    assert warmed((2 * STEPS + TOTAL) // 2) == pytest.approx(0.5)


def test_one_cycle_rises_once_falls_as_long_and_anneals():
    """A rise and an equal fall, then two orders of magnitude further down; a warm-up changes nothing."""
    found = factors("onecycle")
    top = found.index(max(found))
    assert top == pytest.approx(RISE * TOTAL, abs=1)
    assert all(a < b for a, b in itertools.pairwise(found[: top + 1]))
    assert all(a > b for a, b in itertools.pairwise(found[top:]))
    assert found[0] == pytest.approx(LOW)
    assert found[-1] == pytest.approx(LOWEST)
    for away in (10, 40, 80):
        assert found[top - away] == pytest.approx(found[top + away], abs=0.02)
    assert factors("onecycle", warmup=3.0) == found


def test_steps_fall_by_a_factor_every_so_many_epochs():
    """A tenth after every three epochs, and the same within them."""
    found = factors("step", warmup=0.0, decay_epochs=3.0, decay_rate=0.1)
    assert [found[STEPS * epoch] for epoch in range(10)] == pytest.approx([1] * 3 + [0.1] * 3 + [0.01] * 3 + [0.001])
    assert found[3 * STEPS - 1] == 1
    assert found[3 * STEPS] == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["cosine", "onecycle"])
def test_what_comes_after_the_end_has_the_last_factor(kind):
    """A part of an epoch that is made up adds steps: they never raise the rates again."""
    one = schedule(kind)
    assert one(TOTAL + 5) == one(TOTAL + 50) <= one(TOTAL - 1)


@pytest.mark.parametrize("kind", ["cosine", "onecycle", "step"])
def test_a_training_of_one_step_has_a_rate(kind):
    """No length of training and no warm-up that is longer divides by zero."""
    one = Schedule(kind=kind, steps_per_epoch=1, epochs=1, warmup=5.0, decay_epochs=0.1)
    assert 0 < one(0) <= 1
