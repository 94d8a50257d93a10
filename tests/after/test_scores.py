"""Scores, and how far they can be trusted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autotune.after.scores import probabilities_of, recalls, wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (95, 100, 0.8882, 0.9785), (1, 2, 0.0945, 0.9055)],
)
def test_wilson_agrees_with_the_tables(hits, n, low, high):
    """Wilson's interval has the published bounds and stays within 0 and 1."""
    assert wilson(hits, n) == pytest.approx((low, high), abs=1e-4)


def test_wilson_narrows_with_more_images():
    """A hundred times as many images give an interval about a tenth as wide."""
    few, many = wilson(90, 100), wilson(9000, 10000)
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(10, rel=0.05)


def test_recalls_know_classes_without_images():
    """A class without images has no recall; the others have their share of right answers."""
    probabilities = np.eye(3, dtype=np.float32)[[0, 0, 1, 1]]
    found = recalls(probabilities, np.array([0, 0, 1, 0]))
    assert found[0] == pytest.approx(2 / 3)
    assert found[1] == 1
    assert math.isnan(found[2])


def test_a_side_is_predicted_in_order_and_in_batches(study, tiny):
    """Predictions do not depend on the size of the batches; an empty side gives no rows."""
    model = study.best.load()
    side = tiny.task.val
    whole = probabilities_of(model, side, batch=1000)
    assert np.allclose(whole, probabilities_of(model, side, batch=7), atol=1e-6)
    assert probabilities_of(model, side.take([])).shape == (0, 10)
