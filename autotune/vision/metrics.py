"""Scores of a classifier.

They are scikit-learn's, which the tests compare with, but for what that leaves undefined where a class has no images.
From one table of hits and one sort a class, because 64 heads are scored after every epoch: scikit-learn takes some
20 ms a call, as long as the epochs of these heads themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "auroc", "cohen_kappa")


def score(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], metrics: Sequence[str] = METRICS
) -> dict[str, float]:
    """Scores of probabilities [N, C] against labels [N].

    ``auroc`` is the mean, over the classes, of the area under the curve of each against all others (Fawcett 2006,
    doi:10.1016/j.patrec.2005.10.010, with every class counting alike); ``cohen_kappa`` the agreement beyond chance
    (Cohen 1960, doi:10.1177/001316446002000104).

    A class without an image among the labels counts neither for balanced accuracy nor for macro F1 nor for AUROC.
    Where all labels are of one class, no order and no agreement can be told from chance: AUROC is 0.5, and kappa is 0
    where nothing else is predicted. Any probability that is not finite makes every score nan, which ends a trial as
    diverged.

    Args:
        probabilities: Each row sums to 1, or to anything above 0.
        labels: At least one.
        metrics: Which scores are wanted.
    """
    if not np.isfinite(probabilities).all():
        return dict.fromkeys(metrics, float("nan"))
    count, classes = probabilities.shape
    pairs = labels * classes + probabilities.argmax(axis=1)
    table = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    hits, actual, guessed = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    present = actual > 0
    found: dict[str, float] = {
        "accuracy": float(hits.sum() / count),
        "balanced_accuracy": float((hits[present] / actual[present]).mean()),
        "macro_f1": float((2 * hits[present] / (actual + guessed)[present]).mean()),
        "cohen_kappa": _kappa(hits.sum() / count, float(actual @ guessed) / count**2),
    }
    if "log_loss" in metrics:
        found["log_loss"] = _log_loss(probabilities, labels)
    if "auroc" in metrics:
        found["auroc"] = _auroc(probabilities, labels, actual)
    return {name: found[name] for name in metrics}


def _kappa(agreement: float, by_chance: float) -> float:
    return float((agreement - by_chance) / (1 - by_chance)) if by_chance < 1 else 0.0


def _log_loss(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    rows = probabilities.astype(np.float64)
    chances = rows[np.arange(len(labels)), labels] / rows.sum(axis=1)
    return float(-np.log(np.maximum(chances, np.finfo(np.float64).eps)).mean())


def _auroc(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], actual: npt.NDArray[np.int64]
) -> float:
    """By the ranks of each class's own images among all (Mann and Whitney 1947); equals share their ranks."""
    areas = []
    for label in np.flatnonzero((actual > 0) & (actual < len(labels))):
        column = probabilities[:, label]
        own, ordered = column[labels == label], np.sort(column)
        ranks = np.searchsorted(ordered, own, "left").sum() + np.searchsorted(ordered, own, "right").sum()
        above = (int(ranks) - len(own) ** 2) / 2
        areas.append(above / (len(own) * (len(labels) - len(own))))
    return float(np.mean(areas)) if areas else 0.5


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
