"""Heads for many tasks at once are those that one would fit one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from autotune_metalearn.fewshot import (
    accuracies,
    centroid_logits,
    descend,
    interval,
    linear,
    logistic_logits,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

WAYS, SHOTS = 3, 4
LABELS = torch.arange(WAYS).repeat_interleave(SHOTS)


@pytest.fixture
def tasks() -> tuple[torch.Tensor, torch.Tensor]:
    """Six tasks of three noisy classes with 20 features: 12 images to learn from, 9 to be asked about."""
    random = torch.Generator().manual_seed(0)
    means = torch.randn(6, WAYS, 20, generator=random)
    support = means.repeat_interleave(SHOTS, 1) + torch.randn(6, 12, 20, generator=random)
    return support, means.repeat_interleave(3, 1) + torch.randn(6, 9, 20, generator=random)


@pytest.mark.parametrize("l2", [1e-4, 1e-2, 1.0])
def test_logistic_regression_is_scikit_learns(tasks: tuple[torch.Tensor, torch.Tensor], l2: float) -> None:
    """Probabilities of every task, with the bias as the weight of one more feature."""
    support, query = tasks
    found = logistic_logits(support, LABELS, query, WAYS, l2).softmax(2)
    one = np.ones((12, 1)), np.ones((9, 1))
    for task in range(len(support)):
        theirs = LogisticRegression(C=1 / (12 * l2), fit_intercept=False, tol=1e-10, max_iter=10_000)
        theirs.fit(np.hstack([support[task].double().numpy(), one[0]]), LABELS.numpy())
        expected = theirs.predict_proba(np.hstack([query[task].double().numpy(), one[1]]))
        np.testing.assert_allclose(found[task].numpy(), expected, atol=2e-3)


def test_centroids_are_scikit_learns(tasks: tuple[torch.Tensor, torch.Tensor]) -> None:
    """The nearest mean of every query."""
    support, query = tasks
    found = centroid_logits(support, LABELS, query, WAYS).argmax(2)
    for task in range(len(support)):
        theirs = NearestCentroid().fit(support[task].numpy(), LABELS.numpy())
        assert theirs.predict(query[task].numpy()).tolist() == found[task].tolist()


def test_descent_is_what_an_optimiser_does(tasks: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Plain descent by torch, task by task, from the same head."""
    support, query = tasks
    start = torch.nn.Linear(20, WAYS)
    *_, (weights, biases) = descend(support, LABELS, start.weight.detach(), start.bias.detach(), rate=0.3, steps=5)
    for task in range(len(support)):
        head = torch.nn.Linear(20, WAYS)
        head.load_state_dict(start.state_dict())
        optimizer = torch.optim.SGD(head.parameters(), lr=0.3)
        for _ in range(5):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head(support[task]), LABELS).backward()
            optimizer.step()
        torch.testing.assert_close(weights[task], head.weight.detach(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(biases[task], head.bias.detach(), atol=1e-5, rtol=1e-4)
        expected = head(query[task]).detach()
        torch.testing.assert_close(linear(query, weights, biases)[task], expected, atol=1e-4, rtol=1e-4)


def test_accuracies_and_their_interval() -> None:
    """One number a task; the interval is that of a mean, and none for one task."""
    logits = torch.tensor([[[2.0, 1.0], [0.0, 1.0]], [[2.0, 1.0], [1.0, 0.0]]])
    assert accuracies(logits, torch.tensor([0, 1])).tolist() == [1.0, 0.5]
    values = torch.tensor([0.0, 1.0, 0.0, 1.0])
    assert interval(values) == pytest.approx(1.96 * math.sqrt(1 / 3) / 2)
    assert interval(values[:1]) == 0.0
