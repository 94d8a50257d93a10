from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from autotune import Diverged
from autotune.vision import fit_linear, standard


def some(count=240, features=12, classes=4, seed=0):
    """Features of different scales that tell, to some degree, their class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, features, generator=generator)
    vectors = centres[labels] + 1.5 * torch.randn(count, features, generator=generator)
    return vectors * torch.logspace(-1, 1, features) + torch.linspace(-3, 5, features), labels


def odds(vectors, fitted):
    """Probabilities by a fitted weight and bias."""
    weight, bias = fitted
    return torch.softmax(vectors @ weight.T + bias, dim=1)


@pytest.mark.parametrize("l2", [1e-2, 0.1, 1.0])
def test_it_is_scikit_learns_logistic_regression(l2):
    """On training and on new vectors the probabilities are scikit-learn's, with the same penalty on the same scale."""
    vectors, labels = some()
    others, _ = some(50, seed=1)
    mean, scale = standard(vectors.double())
    theirs = LogisticRegression(C=1 / (l2 * len(vectors)), tol=1e-6, max_iter=5000)
    theirs.fit(((vectors.double() - mean) / scale).numpy(), labels.numpy())
    fitted = fit_linear(vectors, labels, classes=4, l2=l2)
    for some_of in (vectors, others):
        wanted = theirs.predict_proba(((some_of.double() - mean) / scale).numpy())
        assert np.abs(odds(some_of, fitted).numpy() - wanted).max() < 1e-3


def test_folded_in_is_standardised_first():
    """Where features lie, and in which unit they are given, changes nothing of what is said of them."""
    vectors, labels = some()
    scaled = 300 * vectors - torch.linspace(-9, 9, vectors.shape[1])
    plain = odds(vectors, fit_linear(vectors, labels, classes=4, l2=0.01))
    torch.testing.assert_close(plain, odds(scaled, fit_linear(scaled, labels, classes=4, l2=0.01)), rtol=0, atol=1e-3)


def test_a_strong_penalty_leaves_the_shares_of_the_classes():
    """With weights held at zero the free biases give every image the classes' frequencies."""
    vectors, labels = some()
    labels[:60] = 0
    shares = torch.bincount(labels, minlength=4) / len(labels)
    found = odds(vectors, fit_linear(vectors, labels, classes=4, l2=1e3))
    torch.testing.assert_close(found, shares.expand(len(labels), 4), rtol=0, atol=5e-3)


def test_a_constant_feature_is_left_alone():
    """A feature that never changes gets no weight, and the others' fit is what it is without it."""
    vectors, labels = some()
    with_constant = torch.cat([vectors, torch.full((len(vectors), 1), 7.3)], dim=1)
    weight, bias = fit_linear(with_constant, labels, classes=4, l2=0.01)
    assert float(weight[:, -1].abs().max()) < 1e-3
    without = odds(vectors, fit_linear(vectors, labels, classes=4, l2=0.01))
    torch.testing.assert_close(odds(with_constant, (weight, bias)), without, rtol=0, atol=1e-3)


def test_what_cannot_be_fitted_is_named():
    """Features that are not finite end as diverged; no features at all are the caller's mistake."""
    vectors, labels = some()
    vectors[3, 4] = float("nan")
    with pytest.raises(Diverged, match="not finite"):
        fit_linear(vectors, labels, classes=4, l2=0.01)
    with pytest.raises(ValueError, match="there are none"):
        fit_linear(vectors[:0], labels[:0], classes=4, l2=0.01)
