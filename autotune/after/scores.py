"""Scores of predictions, and how far they can be trusted."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from autotune.data import Split
from autotune.model import Model

Probabilities = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

Z95 = 1.959963984540054
"""The standard normal's 97.5 % quantile."""


def recalls(probabilities: Probabilities, labels: Labels) -> npt.NDArray[np.float64]:
    """Accuracy within each class, float64 [C]; nan for a class without images."""
    classes = probabilities.shape[1]
    hits = np.bincount(labels[probabilities.argmax(axis=1) == labels], minlength=classes)
    counts = np.bincount(labels, minlength=classes)
    return np.divide(hits, counts, out=np.full(classes, np.nan), where=counts > 0)


def wilson(hits: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval for a share (Wilson 1927, doi:10.1080/01621459.1927.10502953); 95 % by default."""
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def probabilities_of(model: Model, split: Split, *, batch: int = 128) -> Probabilities:
    """What a model says of every image of a side: float32 [N, C].

    Raises:
        DataError: An image has vanished or broken since it was indexed.
    """
    parts = [
        model.predict([split.image(i) for i in range(start, min(start + batch, len(split)))])
        for start in range(0, len(split), batch)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, len(model.classes)), np.float32)
