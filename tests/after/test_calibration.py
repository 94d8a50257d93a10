"""Temperatures, and how sure a model is."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.after.calibration import calibration_error, cross_fitted, fit_temperature, log_loss
from autotune.model import softmax


def overconfident(count: int = 2000, classes: int = 4, factor: float = 3.0):
    """Logits [N, C] that are so many times too large for labels [N] drawn by their true probabilities."""
    draw = np.random.default_rng(0)
    true = draw.normal(0, 2, (count, classes)).astype(np.float32)
    labels = np.array([draw.choice(classes, p=p / p.sum()) for p in softmax(true).astype(np.float64)])
    return factor * true, labels


def folds(count: int):
    """Two halves, each judged by the other."""
    rows = np.arange(count)
    return [(rows[rows % 2 == 1], rows[rows % 2 == 0]), (rows[rows % 2 == 0], rows[rows % 2 == 1])]


def test_the_true_temperature_is_found():
    """Logits three times too large need a temperature near three, and a third of that size one near a third."""
    logits, labels = overconfident()
    assert fit_temperature(logits, labels) == pytest.approx(3, rel=0.1)
    assert fit_temperature(logits / 9, labels) == pytest.approx(1 / 3, rel=0.1)


def test_no_prediction_changes():
    """Whatever the temperature, every image is given the class that it was given before."""
    logits, labels = overconfident()
    temperature = fit_temperature(logits, labels)
    assert temperature != 1
    assert np.array_equal(softmax(logits).argmax(axis=1), softmax(logits, temperature).argmax(axis=1))


@pytest.mark.parametrize("seed", range(8))
def test_the_log_loss_never_becomes_worse(seed):
    """On the images that it is fitted to, a temperature is at least as good as none, however few there are."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, draw.uniform(0.01, 30), (6, 3)).astype(np.float32)
    labels = draw.integers(0, 3, 6)
    assert log_loss(logits, labels, fit_temperature(logits, labels)) <= log_loss(logits, labels)


def test_the_log_loss_is_that_of_the_probabilities():
    """It agrees with the score of the same name."""
    from autotune.vision.metrics import score

    logits, labels = overconfident(300)
    for temperature in (0.7, 1.0, 2.5):
        scored = score(softmax(logits, temperature), labels)["log_loss"]
        assert log_loss(logits, labels, temperature) == pytest.approx(scored, abs=1e-4)


def test_huge_logits_have_a_log_loss():
    """Nothing overflows where logits are in the thousands."""
    logits = np.array([[5000.0, 0.0], [0.0, 3000.0]], np.float32)
    assert log_loss(logits, np.array([0, 1])) == 0
    assert log_loss(logits, np.array([1, 0])) == pytest.approx(4000)


def test_a_model_that_knows_itself_has_no_error():
    """Where a class is right as often as it is probable, the error is 0."""
    sure = np.array([[0.75, 0.25]] * 8, np.float32)
    assert calibration_error(sure, np.array([0] * 6 + [1] * 2)) == pytest.approx(0)


def test_the_error_is_the_gap_weighted_by_images():
    """Eight images at 0.9 of which half are right, and two at 0.6 that are right: 0.8 * 0.4 + 0.2 * 0.4."""
    sure = np.array([[0.9, 0.1]] * 8 + [[0.4, 0.6]] * 2, np.float32)
    labels = np.array([0] * 4 + [1] * 4 + [1] * 2)
    assert calibration_error(sure, labels) == pytest.approx(0.8 * 0.4 + 0.2 * 0.4)


def test_gaps_within_one_bin_cancel_and_across_bins_do_not():
    """With one bin a model that is too sure here and not sure enough there looks calibrated; with 15 it does not."""
    sure = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]] * 4, np.float32)
    labels = np.array([0, 0, 1, 1, 0, 0, 0, 0])
    assert calibration_error(sure, labels, bins=1) == pytest.approx(0)
    assert calibration_error(sure, labels) == pytest.approx(0.4)


def test_full_confidence_has_its_bin():
    """A probability of exactly 1 belongs to the last bin."""
    assert calibration_error(np.array([[1.0, 0.0]], np.float32), np.array([0])) == 0
    assert calibration_error(np.array([[1.0, 0.0]], np.float32), np.array([1])) == 1


def test_a_temperature_brings_the_error_down():
    """An overconfident model's error falls, also where the temperature was fitted to other images."""
    logits, labels = overconfident()
    before = calibration_error(softmax(logits), labels)
    after = calibration_error(cross_fitted(logits, labels, folds(len(labels))), labels)
    assert before > 0.1
    assert after < before / 3


def test_no_image_judges_its_own_temperature():
    """Each half bears the temperature of the other one."""
    logits, labels = overconfident(400)
    logits[::2] *= 4
    found = cross_fitted(logits, labels, folds(400))
    even, odd = (fit_temperature(logits[at::2], labels[at::2]) for at in (0, 1))
    assert even > 2 * odd
    assert np.allclose(found[::2], softmax(logits[::2], odd), atol=1e-5)
    assert np.allclose(found[1::2], softmax(logits[1::2], even), atol=1e-5)
