"""Heads from a few images a class, for many tasks at once: E tasks, N images to learn from, C classes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional

SHARES = (1.0, 0.5, 0.25, 0.125, 0.0)
"""Shares of a Newton step that are tried; the last one stays where it is."""


def accuracies(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The share of right answers in every task: logits [E, Q, C] and labels int64 [Q] give float32 [E]."""
    return (logits.argmax(2) == labels.to(logits.device)).float().mean(1)


def interval(values: torch.Tensor) -> float:
    """Half of the 95 % interval of a mean, from values [E]; 0 for a single one."""
    return 0.0 if len(values) < 2 else 1.96 * float(values.std()) / len(values) ** 0.5


def centroid_logits(support: torch.Tensor, labels: torch.Tensor, query: torch.Tensor, ways: int) -> torch.Tensor:
    """Minus the squared distance to each class's mean (Snell et al. 2017, arXiv:1703.05175).

    Args:
        support: float [E, N, D].
        labels: int64 [N], the same in every task.
        query: float [E, Q, D].
        ways: Number of classes C, each among the labels.

    Returns:
        float [E, Q, C].
    """
    target = functional.one_hot(labels, ways).to(support)
    means = (target.mT @ support) / target.sum(0).unsqueeze(1)
    return -torch.cdist(query, means).square()


def logistic_logits(
    support: torch.Tensor, labels: torch.Tensor, query: torch.Tensor, ways: int, l2: float, *, iterations: int = 20
) -> torch.Tensor:
    """Multinomial logistic regression, solved for all tasks together by Newton's method.

    What is minimised is the mean cross-entropy plus ``l2 / 2`` times the squared weights, the bias being the weight of
    one more feature that is 1 everywhere. A task has far fewer images than features, so that the solution is sought
    among the images' combinations: N * C numbers instead of D * C.

    Args:
        support: float [E, N, D].
        labels: int64 [N], the same in every task.
        query: float [E, Q, D].
        ways: Number of classes C.
        l2: Above 0.
        iterations: Newton steps, each cut down to what lowers the objective.

    Returns:
        float32 [E, Q, C].
    """
    x, asked = support.double(), query.double()
    kernel, cross = x @ x.mT + 1, asked @ x.mT + 1
    tasks, count = x.shape[:2]
    target = functional.one_hot(labels, ways).to(x)
    ridge = l2 * torch.eye(count * ways).to(x)
    found = x.new_zeros(tasks, count, ways)
    for _ in range(iterations):
        p = (kernel @ found).softmax(2)
        gap = (p - target) / count + l2 * found
        curvature = (torch.diag_embed(p) - p.unsqueeze(3) * p.unsqueeze(2)) / count
        system = torch.einsum("encd,enm->encmd", curvature, kernel).reshape(tasks, count * ways, -1) + ridge
        step = torch.linalg.solve(system, gap.reshape(tasks, -1, 1)).reshape_as(found)
        found = _lowest(torch.stack([found - share * step for share in SHARES]), kernel, target, l2)
    return (cross @ found).float()


def _lowest(tries: torch.Tensor, kernel: torch.Tensor, target: torch.Tensor, l2: float) -> torch.Tensor:
    """Of tries [T, E, N, C] the one of lowest objective in every task, [E, N, C]."""
    logits = kernel @ tries
    entropy = -(logits.log_softmax(3) * target).sum((2, 3)) / len(target)
    objective = entropy + l2 / 2 * (tries * logits).sum((2, 3))
    return tries[objective.argmin(0), torch.arange(tries.shape[1], device=tries.device)]


def descend(
    support: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, rate: float, steps: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Adapts one linear head to every task by plain gradient descent on the mean cross-entropy.

    Args:
        support: float [E, N, D].
        labels: int64 [N], the same in every task.
        weight: float [C, D], where every task begins.
        bias: float [C].
        rate: Learning rate.
        steps: How many.

    Yields:
        After each step, weights [E, C, D] and biases [E, C].
    """
    target = functional.one_hot(labels, len(bias)).to(support)
    weights, biases = weight.expand(len(support), -1, -1), bias.expand(len(support), -1)
    for _ in range(steps):
        gap = (linear(support, weights, biases).softmax(2) - target) / len(target)
        weights, biases = weights - rate * gap.mT @ support, biases - rate * gap.sum(1)
        yield weights, biases


def linear(vectors: torch.Tensor, weights: torch.Tensor, biases: torch.Tensor) -> torch.Tensor:
    """Logits [E, N, C] of vectors [E, N, D] by every task's own weights [E, C, D] and biases [E, C]."""
    return vectors @ weights.mT + biases.unsqueeze(1)
