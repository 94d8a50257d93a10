from __future__ import annotations

import math

import numpy as np

from autotune.vision import METRICS, score


def test_scores_of_a_known_table():
    """Three of four right, one class of two images half right, worked out by hand."""
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], dtype=np.float32)
    scores = score(probabilities, np.array([0, 0, 1, 1]))
    assert set(scores) == set(METRICS)
    assert scores["accuracy"] == 0.75
    assert scores["balanced_accuracy"] == 0.75
    assert math.isclose(scores["macro_f1"], (0.8 + 2 / 3) / 2)
    assert math.isclose(
        scores["log_loss"], -(math.log(0.9) + math.log(0.8) + math.log(0.7) + math.log(0.4)) / 4, rel_tol=1e-6
    )


def test_a_class_without_images_does_not_count():
    """Balanced accuracy and macro F1 are those of the classes that are there."""
    probabilities = np.eye(3, dtype=np.float32)[[0, 1, 1]]
    scores = score(probabilities, np.array([0, 1, 1]))
    assert scores["balanced_accuracy"] == 1.0
    assert scores["macro_f1"] == 1.0


def test_what_is_not_a_number_has_no_score():
    """One nan among the probabilities makes every score nan."""
    probabilities = np.array([[0.5, 0.5], [float("nan"), 0.1]], dtype=np.float32)
    assert all(math.isnan(v) for v in score(probabilities, np.array([0, 1])).values())
