"""Classification without training: by the nearest images, and by the nearest mean of a class."""

from __future__ import annotations

import torch
from torch.nn import functional

ELEMENTS = 2**24
"""Similarities that are held at once, 64 MiB in float32."""


@torch.no_grad()
def knn_probabilities(
    train: torch.Tensor,
    labels: torch.Tensor,
    queries: torch.Tensor,
    *,
    classes: int,
    k: int,
    temperature: float,
) -> torch.Tensor:
    """Probabilities by a weighted vote of the nearest images (Wu et al. 2018, arXiv:1805.01978).

    Each of the k training images whose vectors are most similar by cosine votes for its own class, with the weight
    exp(similarity / temperature); the votes are divided by their sum.

    Args:
        train: Vectors of the training images, floating point [N, D].
        labels: Their classes, int64 [N], on the same device.
        queries: Vectors of the images that are asked about, [M, D], on the same device.
        classes: How many classes there are, C.
        k: How many images vote; all of them where there are fewer.
        temperature: The smaller it is, the more the very nearest count.

    Returns:
        float32 [M, C] on the device of the queries, each row summing to 1.

    Raises:
        ValueError: There are no training images, k is under 1, or the temperature is not above 0.
    """
    if len(train) == 0 or k < 1 or not temperature > 0:
        raise ValueError(
            f"neighbours need images to choose from, k of 1 or more and a temperature above 0, "
            f"not {len(train)} images, k = {k}, temperature = {temperature}"
        )
    bank = functional.normalize(train.float(), dim=1)
    nearest = min(k, len(bank))
    votes = torch.zeros(len(queries), classes, device=queries.device)
    rows = max(1, ELEMENTS // len(bank))
    for start in range(0, len(queries), rows):
        part = functional.normalize(queries[start : start + rows].float(), dim=1)
        similarities, places = (part @ bank.T).topk(nearest, dim=1)
        # A softmax is exp(similarity / temperature) over its sum, and does not overflow where they are large.
        weights = torch.softmax(similarities / temperature, dim=1)
        votes[start : start + rows].scatter_add_(1, labels[places], weights)
    return votes


@torch.no_grad()
def prototypes(train: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """The mean vector of every class (Snell et al. 2017, arXiv:1703.05175).

    Args:
        train: Vectors, floating point [N, D].
        labels: Their classes, int64 [N], on the same device.
        classes: How many classes there are, C.

    Returns:
        float32 [C, D] on the same device. A class without images has zeros: `torch.bincount` tells which those are.
    """
    vectors = train.float()
    sums = vectors.new_zeros(classes, vectors.shape[1]).index_add_(0, labels, vectors)
    counts = torch.bincount(labels, minlength=classes).clamp_(min=1)
    return sums / counts[:, None]
