"""Whether a model became better."""

from __future__ import annotations

import numpy as np
import pytest

import autotune
from autotune.after.comparing import compare
from autotune.objective import Goal


def answers(labels, right, classes=3):
    """Probabilities whose most probable class is right where `right` says so."""
    said = np.where(right, labels, (labels + 1) % classes)
    rows = np.full((len(labels), classes), 0.1, np.float32)
    rows[np.arange(len(labels)), said] = 0.8
    return rows


@pytest.fixture
def labels():
    """Labels of 1,500 images."""
    return np.arange(1500) % 3


def test_a_clear_gain_is_better(labels):
    """Where the whole interval is above zero the verdict is plain."""
    found = compare(
        answers(labels, np.arange(1500) > 150), answers(labels, np.arange(1500) > 75), labels,
        Goal.of("accuracy"),
    )  # fmt: skip
    assert found.better
    assert found.difference == pytest.approx(0.05)
    assert 0 < found.interval[0] < found.difference < found.interval[1]
    assert found.verdict.startswith("better: accuracy 0.899 -> 0.949 on 1,500 held-out images")


def test_a_loss_is_not_better(labels):
    """A worse model is not better, and the person is told to keep the old one."""
    found = compare(
        answers(labels, np.arange(1500) > 75), answers(labels, np.arange(1500) > 150), labels, Goal.of("accuracy")
    )
    assert not found.better
    assert found.verdict.startswith("not better: keep the model that you have")


def test_the_same_answers_are_not_better(labels):
    """Without any difference the interval is a point, and nothing became better."""
    same = answers(labels, np.arange(1500) > 75)
    found = compare(same, same, labels, Goal.of("accuracy"))
    assert found.interval == (0.0, 0.0)
    assert not found.better


def test_the_choice_among_many_widens_the_interval(labels):
    """What is clear for one candidate is not for the best of a hundred that were chosen by the same images."""
    old = answers(labels, (np.arange(1500) < 1360) | (np.arange(1500) >= 1490))
    new = answers(labels, (np.arange(1500) < 1350) | (np.arange(1500) >= 1380))
    one, many = (compare(old, new, labels, Goal.of("accuracy"), candidates=n) for n in (1, 1000))
    assert one.difference == many.difference > 0
    assert many.interval[0] < one.interval[0]
    assert many.interval[1] > one.interval[1]


def test_lower_is_better_for_a_loss(labels):
    """For log loss the whole interval must lie below zero."""
    old, new = answers(labels, np.arange(1500) > 300), answers(labels, np.arange(1500) > 75)
    assert compare(old, new, labels, Goal.of("log_loss")).better
    assert not compare(new, old, labels, Goal.of("log_loss")).better


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1"])
def test_metrics_that_are_no_means_are_bootstrapped(labels, metric):
    """Their interval is close to accuracy's on balanced images, and the same twice."""
    old, new = answers(labels, np.arange(1500) % 10 > 1), answers(labels, np.arange(1500) % 10 > 0)
    found = compare(old, new, labels, Goal.of(metric))
    accuracy = compare(old, new, labels, Goal.of("accuracy"))
    assert found == compare(old, new, labels, Goal.of(metric))
    assert found.better
    assert found.interval == pytest.approx(accuracy.interval, abs=0.01)


def test_agreement_beyond_chance_is_stretched_accuracy(labels):
    """With three classes of equal size kappa, and its interval, is half as wide again as accuracy's."""
    old, new = answers(labels, np.arange(1500) % 10 > 1), answers(labels, np.arange(1500) % 10 > 0)
    kappa, accuracy = (compare(old, new, labels, Goal.of(metric)) for metric in ("cohen_kappa", "accuracy"))
    assert kappa.difference == pytest.approx(1.5 * accuracy.difference)
    assert kappa.interval == pytest.approx([1.5 * end for end in accuracy.interval], abs=0.01)
    assert compare(old, new, labels, Goal.of("auroc")).better


def test_a_trainers_own_metric_cannot_be_compared(labels):
    """Only the metrics that are computed here can be compared."""
    same = answers(labels, labels == labels)
    with pytest.raises(autotune.UsageError, match="dice"):
        compare(same, same, labels, Goal.of("dice:maximize"))
