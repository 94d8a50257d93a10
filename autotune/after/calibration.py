"""Whether a model is as sure as it is right, and one number that makes it so.

Temperature scaling (Guo et al. 2017, arXiv:1706.04599): the logits are divided by one number, which changes how sure a
model is and never which class it names.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from autotune.after.scores import Labels, Logits, Probabilities
from autotune.model import softmax

BINS = 15
COLDEST, HOTTEST = 0.05, 20.0
EVALUATIONS = 15
"""How often the log loss is computed to find a temperature, about."""

Rows = npt.NDArray[np.int64]


def log_loss(logits: Logits, labels: Labels, temperature: float = 1.0) -> float:
    """Mean negative log probability of the labels [N] under logits [N, C] that a temperature divides."""
    scores = logits.astype(np.float64) / temperature
    highest = scores.max(axis=1)
    total = highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1))
    return float((total - scores[np.arange(len(labels)), labels]).mean())


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """The temperature between 0.05 and 20 with the smallest log loss; 1 where none is better than that.

    The log loss is convex in the inverse of the temperature, so that there is one smallest value, which a bounded
    search over the temperature's logarithm finds.

    Args:
        logits: Raw scores [N, C], finite.
        labels: Right classes [N], at least one.
    """
    from scipy.optimize import minimize_scalar  # slow to import, and needed when a model is handed over only

    bounds = (float(np.log(COLDEST)), float(np.log(HOTTEST)))
    found = minimize_scalar(
        lambda power: log_loss(logits, labels, float(np.exp(power))),
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-3},
    )
    temperature = float(np.exp(found.x))
    return temperature if log_loss(logits, labels, temperature) < log_loss(logits, labels) else 1.0


def cross_fitted(logits: Logits, labels: Labels, folds: Iterable[tuple[Rows, Rows]]) -> Probabilities:
    """Probabilities [N, C] of which each row's temperature was fitted to other rows.

    Args:
        logits: Raw scores [N, C].
        labels: Right classes [N].
        folds: Rows to fit to, and rows to apply that to; the latter are all rows, each once.
    """
    found = np.zeros(logits.shape, np.float32)
    for fit, rest in folds:
        found[rest] = softmax(logits[rest], fit_temperature(logits[fit], labels[fit]))
    return found


def calibration_error(probabilities: Probabilities, labels: Labels, bins: int = BINS) -> float:
    """The expected calibration error (Naeini et al. 2015; Guo et al. 2017, section 2): 0 is best, 1 is worst.

    Images are put into bins of equal width by the probability of the class that is named. In each bin, how often that
    class is right is compared with how probable it was said to be; bins count by their images.

    Args:
        probabilities: What the model says [N, C].
        labels: Right classes [N].
        bins: How many, between 0 and 1.
    """
    sure = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    place = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right - sure, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
