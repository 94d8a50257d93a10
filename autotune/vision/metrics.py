"""Scores of a classifier, by scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss")


def score(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> dict[str, float]:
    """Scores of probabilities [N, C] against labels [N].

    Classes without an image among the labels count neither for balanced accuracy nor for macro F1.
    Any probability that is not finite makes every score nan, which ends a trial as diverged.
    """
    if not np.isfinite(probabilities).all():
        return dict.fromkeys(METRICS, float("nan"))
    predicted = probabilities.argmax(axis=1)
    present = np.unique(labels)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        balanced = sk.balanced_accuracy_score(labels, predicted)
    rows = probabilities.astype(np.float64)
    rows /= rows.sum(axis=1, keepdims=True)
    return {
        "accuracy": float(sk.accuracy_score(labels, predicted)),
        "balanced_accuracy": float(balanced),
        "macro_f1": float(sk.f1_score(labels, predicted, labels=present, average="macro", zero_division=0.0)),
        "log_loss": float(sk.log_loss(labels, rows, labels=np.arange(rows.shape[1]))),
    }
