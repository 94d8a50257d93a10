"""Scores of predictions, and how far they can be trusted."""

from __future__ import annotations

import time
from typing import overload

import numpy as np
import numpy.typing as npt

from autotune.data import Split
from autotune.model import Averaging, Model

Probabilities = npt.NDArray[np.float32]
Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def recalls(probabilities: Probabilities, labels: Labels) -> npt.NDArray[np.float64]:
    """Accuracy within each class, float64 [C]; nan for a class without images."""
    classes = probabilities.shape[1]
    hits = np.bincount(labels[probabilities.argmax(axis=1) == labels], minlength=classes)
    counts = np.bincount(labels, minlength=classes)
    return np.divide(hits, counts, out=np.full(classes, np.nan), where=counts > 0)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval for a share (Wilson 1927, doi:10.1080/01621459.1927.10502953), by SciPy."""
    from scipy.stats import binomtest  # slow to import, and needed by evaluations only

    interval = binomtest(hits, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def probabilities_of(model: Model, split: Split, *, batch: int = 128, tta: Averaging = "none") -> Probabilities:
    """What a model says of every image of a side: float32 [N, C].

    Args:
        model: The model.
        split: The side.
        batch: Images that are held at once.
        tta: Test-time augmentation; see `autotune.Model.predict`.

    Raises:
        DataError: An image has vanished or broken since it was indexed.
    """
    parts = [
        model.predict([split.image(i) for i in range(start, min(start + batch, len(split)))], tta)
        for start in range(0, len(split), batch)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, len(model.classes)), np.float32)


@overload
def logits_of(model: Model, split: Split, *, batch: int = 128) -> Logits: ...


@overload
def logits_of(model: Model, split: Split, *, batch: int = 128, until: float | None) -> Logits | None: ...


def logits_of(model: Model, split: Split, *, batch: int = 128, until: float | None = None) -> Logits | None:
    """A model's raw scores for every image of a side, float32 [N, C]; None where the time does not suffice.

    Args:
        model: The model.
        split: The side.
        batch: Images that are held at once.
        until: When it has to be done, on the clock of ``time.monotonic``; the pace so far tells whether it will be.

    Raises:
        DataError: An image has vanished or broken since it was indexed.
    """
    began = time.monotonic()
    parts = []
    for start in range(0, len(split), batch):
        now = time.monotonic()
        if until is not None and now + (now - began) / max(1, start) * (len(split) - start) > until:
            return None
        parts.append(model.logits([split.image(i) for i in range(start, min(start + batch, len(split)))]))
    return np.concatenate(parts) if parts else np.zeros((0, len(model.classes)), np.float32)
