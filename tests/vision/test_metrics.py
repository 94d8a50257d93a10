from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from autotune.vision import METRICS, score, score_tasks


def test_scores_of_a_known_table():
    """Three of four right, one class of two images half right, worked out by hand."""
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], dtype=np.float32)
    scores = score(probabilities, np.array([0, 0, 1, 1]))
    assert set(scores) == set(METRICS)
    assert scores["accuracy"] == 0.75
    assert scores["balanced_accuracy"] == 0.75
    assert math.isclose(scores["macro_f1"], (0.8 + 2 / 3) / 2)
    assert math.isclose(
        scores["log_loss"], -(math.log(0.9) + math.log(0.8) + math.log(0.7) + math.log(0.4)) / 4, rel_tol=1e-6
    )


def test_a_class_without_images_does_not_count():
    """Balanced accuracy, macro F1 and AUROC are those of the classes that are there."""
    probabilities = np.eye(3, dtype=np.float32)[[0, 1, 1]]
    scores = score(probabilities, np.array([0, 1, 1]))
    assert scores["balanced_accuracy"] == 1.0
    assert scores["macro_f1"] == 1.0
    assert scores["auroc"] == 1.0


@pytest.mark.parametrize(("said", "kappa"), [([0, 0, 0], 0.0), ([0, 1, 0], 0.0)])
def test_one_class_alone_is_told_apart_from_nothing(said, kappa):
    """Where all images are of one class there is no order and no agreement beyond chance, and no score is nan."""
    scores = score(np.eye(3, dtype=np.float32)[said], np.array([0, 0, 0]))
    assert (scores["auroc"], scores["cohen_kappa"]) == (0.5, kappa)
    assert all(math.isfinite(value) for value in scores.values())


def test_scores_that_are_wanted_are_told_in_their_order():
    """Only the named scores are there, each as among all."""
    rows, labels = np.random.default_rng(0).dirichlet(np.ones(3), 30).astype(np.float32), np.arange(30) % 3
    whole = score(rows, labels)
    assert list(score(rows, labels, ("auroc", "accuracy")).items()) == [
        ("auroc", whole["auroc"]), ("accuracy", whole["accuracy"]),
    ]  # fmt: skip
    assert list(score(np.full((2, 2), np.nan, np.float32), np.array([0, 1]), ("auroc",))) == ["auroc"]


@pytest.mark.parametrize("levels", [3, 1000])
def test_two_classes_have_the_area_of_either(levels):
    """With two classes AUROC is scikit-learn's of the second, ties between equal probabilities included."""
    rng = np.random.default_rng(levels)
    chance = (rng.integers(0, levels, 300) / np.float32(levels)).astype(np.float32)
    labels = (rng.random(300) < chance).astype(np.int64)
    found = score(np.stack([1 - chance, chance], axis=1), labels)["auroc"]
    assert found == pytest.approx(sk.roc_auc_score(labels, chance), abs=1e-6)


def test_what_is_not_a_number_has_no_score():
    """One nan among the probabilities makes every score nan."""
    probabilities = np.array([[0.5, 0.5], [float("nan"), 0.1]], dtype=np.float32)
    assert all(math.isnan(v) for v in score(probabilities, np.array([0, 1])).values())


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_scikit_learns(seed):
    """On random tables, with a class that has no images and one that is never predicted, both agree."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(6, 0.5), 200).astype(np.float32)
    probabilities[:, 2] = 0
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = rng.integers(0, 5, 200)
    predicted = probabilities.argmax(axis=1)
    rows = probabilities.astype(np.float64) / probabilities.astype(np.float64).sum(axis=1, keepdims=True)
    present = np.unique(labels)
    recalls = sk.recall_score(labels, predicted, labels=present, average=None, zero_division=0.0)
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "balanced_accuracy": recalls.mean(),
        "macro_f1": sk.f1_score(labels, predicted, labels=present, average="macro", zero_division=0.0),
        "log_loss": sk.log_loss(labels, rows, labels=np.arange(6)),
        "auroc": np.mean([sk.roc_auc_score(labels == label, probabilities[:, label]) for label in present]),
        "cohen_kappa": sk.cohen_kappa_score(labels, predicted),
    }
    assert score(probabilities, labels) == pytest.approx(expected, rel=1e-9)


def test_scores_of_tasks_are_told_apart_and_averaged():
    """Every task's score is there by its name, and the plain one is their mean, whatever their sizes."""
    labels = np.array([0, 1])
    sure, always = np.eye(2, dtype=np.float32), np.tile(np.array([[0.9, 0.1]], dtype=np.float32), (10, 1))
    scores = {"a": score(sure, labels), "b": score(always, np.tile(labels, 5))}
    found = score_tasks(scores)
    assert list(found)[: len(METRICS)] == list(METRICS)
    assert (found["a/accuracy"], found["b/accuracy"], found["accuracy"]) == (1.0, 0.5, 0.75)
    assert len(found) == 3 * len(METRICS)
