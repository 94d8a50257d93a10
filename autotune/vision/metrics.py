"""Scores of a classifier.

From one table of hits, because 64 heads are scored after every epoch: scikit-learn, which the tests compare with,
takes some 20 ms a call, as long as the epochs of these heads themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

import numpy as np
import numpy.typing as npt

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss")


def score(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> dict[str, float]:
    """Scores of probabilities [N, C] against labels [N].

    Classes without an image among the labels count neither for balanced accuracy nor for macro F1.
    Any probability that is not finite makes every score nan, which ends a trial as diverged.
    """
    if not np.isfinite(probabilities).all():
        return dict.fromkeys(METRICS, float("nan"))
    count, classes = probabilities.shape
    pairs = labels * classes + probabilities.argmax(axis=1)
    table = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    hits, actual, guessed = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    present = actual > 0
    rows = probabilities.astype(np.float64)
    chances = rows[np.arange(count), labels] / rows.sum(axis=1)
    return {
        "accuracy": float(hits.sum() / count),
        "balanced_accuracy": float((hits[present] / actual[present]).mean()),
        "macro_f1": float((2 * hits[present] / (actual + guessed)[present]).mean()),
        "log_loss": float(-np.log(np.maximum(chances, np.finfo(np.float64).eps)).mean()),
    }


def score_tasks(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Scores of several tasks in one table.

    Args:
        scores: What `score` says of each task, by its name; at least one.

    Returns:
        Each score as ``task/metric``, and before them, as ``metric``, the mean over the tasks: every task counts alike,
        however many images it has.
    """
    means = {metric: fmean(found[metric] for found in scores.values()) for metric in METRICS}
    return means | {f"{task}/{metric}": value for task, found in scores.items() for metric, value in found.items()}
