"""Whether a fine-tuned model became better than the one it started from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from autotune.after.scores import Labels, Probabilities
from autotune.errors import UsageError
from autotune.objective import DIRECTIONS, Goal

RESAMPLES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two models on the same held-out images.

    Attributes:
        metric: What is compared.
        n: Images.
        before: All scores of the model as it was.
        after: All scores of the new one.
        difference: After minus before, in the metric's own direction.
        interval: The difference's 95 % interval, wide enough for the best of `candidates` models.
        candidates: Among how many trained models the new one was chosen by these images.
        better: Whether the whole interval lies on the better side of zero.
    """

    metric: str
    n: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    difference: float
    interval: tuple[float, float]
    candidates: int
    better: bool

    @property
    def verdict(self) -> str:
        """One sentence for a person."""
        old, new = self.before[self.metric], self.after[self.metric]
        span = f"{self.interval[0]:+.3f}..{self.interval[1]:+.3f}"
        figures = f"{self.metric} {old:.3f} -> {new:.3f} on {self.n:,} held-out images, 95 % interval of the difference"
        if self.better:
            return f"better: {figures} {span}"
        chance = "" if self.interval[0] * self.interval[1] > 0 else ", as far as these images can tell"
        return f"not better{chance}: keep the model that you have ({figures} {span})"


def compare(
    before: Probabilities, after: Probabilities, labels: Labels, goal: Goal, *, candidates: int = 1
) -> Comparison:
    """Compares two models' probabilities [N, C] on the same images.

    The new model was the best of several on these very images, which flatters it. The interval is therefore
    Bonferroni's for that many comparisons at once (Dunn 1961, doi:10.1080/01621459.1961.10482090): it holds for
    all of the candidates, so also for the one that was chosen. It is the normal interval of the paired
    difference; the standard error is that of the per-image differences, or, for a metric that is no mean over
    images, of a paired bootstrap with a fixed seed.

    Raises:
        UsageError: The metric is one that only the trainer knows.
    """
    from autotune.vision.metrics import score

    if goal.metric not in DIRECTIONS:
        raise UsageError(f"models cannot be compared by {goal.metric!r}", hint=f"metric={'|'.join(DIRECTIONS)}")
    old, new = score(before, labels), score(after, labels)
    difference = new[goal.metric] - old[goal.metric]
    z = NormalDist().inv_cdf(1 - 0.025 / max(1, candidates))
    half = z * _standard_error(before, after, labels, goal.metric)
    interval = (difference - half, difference + half)
    return Comparison(
        metric=goal.metric,
        n=len(labels),
        before=old,
        after=new,
        difference=difference,
        interval=interval,
        candidates=candidates,
        better=interval[0] > 0 if goal.direction == "maximize" else interval[1] < 0,
    )


def _standard_error(before: Probabilities, after: Probabilities, labels: Labels, metric: str) -> float:
    if metric in ("accuracy", "log_loss"):
        per_image = _per_image(after, labels, metric) - _per_image(before, labels, metric)
        return float(per_image.std(ddof=1) / np.sqrt(len(labels))) if len(labels) > 1 else float("inf")
    from autotune.vision.metrics import score

    draw = np.random.default_rng(0)
    differences = []
    for _ in range(RESAMPLES):
        rows = draw.integers(0, len(labels), len(labels))
        old, new = (score(model[rows], labels[rows], (metric,))[metric] for model in (before, after))
        differences.append(new - old)
    return float(np.std(differences, ddof=1))


def _per_image(
    probabilities: Probabilities, labels: Labels, metric: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if metric == "accuracy":
        return (probabilities.argmax(axis=1) == labels).astype(np.float64)
    right = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.clip(right, np.finfo(np.float64).eps, 1.0))
