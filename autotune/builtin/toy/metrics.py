"""Scores of a classifier, in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def score(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> dict[str, float]:
    """Scores of probabilities [N, C] against labels [N].

    Classes without an image among the labels count neither for balanced accuracy nor for macro F1.
    """
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    right = np.bincount(labels[predicted == labels], minlength=classes).astype(np.float64)
    there = np.bincount(labels, minlength=classes)
    said = np.bincount(predicted, minlength=classes)
    present = there > 0
    rows = probabilities.astype(np.float64)
    rows /= rows.sum(axis=1, keepdims=True)
    of_label = rows[np.arange(len(labels)), labels]
    return {
        "accuracy": float(right.sum() / len(labels)),
        "balanced_accuracy": float((right[present] / there[present]).mean()),
        "macro_f1": float((2 * right[present] / (there + said)[present]).mean()),
        "log_loss": float(-np.log(np.maximum(of_label, np.finfo(np.float64).tiny)).mean()),
    }
