"""The trainer ``toy``."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

import autotune
from autotune.builtin import toy
from autotune.builtin.toy.metrics import score
from autotune.builtin.toy.model import ToyModel, shrink
from autotune.builtin.toy.recipe import ToyRecipe
from autotune.builtin.toy.trainer import ToyTrainer
from autotune.testing import TrainerSuite, TrialRun, tiny_data

(SPEC,) = toy.autotune_trainers()


class TestToy(TrainerSuite):
    """toy keeps every promise of a trainer."""

    spec = SPEC


class TestToyWithMomentum(TrainerSuite):
    """It keeps them with the other optimizer and with batches that do not divide the images."""

    spec = SPEC
    values: ClassVar = {"opt": "sgd", "momentum": 0.5, "batch_size": 7, "size": 4}


class TestToyTogether(TrainerSuite):
    """It keeps them when it trains several recipes together."""

    spec = SPEC
    values: ClassVar = {"together": 3, "batch_size": 7}


def test_trained_together_weights_are_the_same_bits(tmp_path):
    """A batch shares the reading of images and nothing else: every weight is that of a run alone."""
    recipes = [ToyRecipe(lr=lr, opt=opt) for lr, opt in ((0.3, "sgd"), (0.01, "nesterov"), (3.0, "sgd"))]
    runs = [TrialRun(tmp_path / f"{i}") for i in range(3)]
    *_, last = ToyTrainer().fit_many(recipes, tiny_data(), runs)
    for i, recipe in enumerate(recipes):
        *_, alone = ToyTrainer().fit(recipe, tiny_data(), TrialRun(tmp_path / f"alone-{i}"))
        assert last[i].checkpoint.facts["sha256"] == alone.checkpoint.facts["sha256"]


def test_one_that_diverges_fails_alone(tmp_path):
    """Of recipes trained together, only the one with a learning rate beyond reason fails."""
    runs = [TrialRun(tmp_path / f"{i}") for i in range(2)]
    told = list(ToyTrainer().fit_many([ToyRecipe(lr=1e38), ToyRecipe()], tiny_data(), runs))
    assert [sorted(epochs) for epochs in told] == [[1]] * 3
    assert runs[0].failed.kind == "diverged"
    assert runs[1].failed is None


def test_it_learns(tmp_path):
    """Ten epochs on tiny images reach an accuracy far above chance."""
    *_, last = ToyTrainer().fit(ToyRecipe(), tiny_data(classes=5), TrialRun(tmp_path, epochs=10))
    assert last.metrics["accuracy"] >= 0.9


def test_divergence_has_a_name(tmp_path):
    """A learning rate beyond reason ends in Diverged, not in a score."""
    with pytest.raises(autotune.Diverged, match="after"):
        list(ToyTrainer().fit(ToyRecipe(lr=1e38), tiny_data(), TrialRun(tmp_path)))


def test_a_partial_epoch_resumes_bit_by_bit(tmp_path):
    """Cut by the deadline in the middle of an epoch and resumed, it ends with the same weights."""
    recipe, data = ToyRecipe(batch_size=8), tiny_data()
    *_, whole = ToyTrainer().fit(recipe, data, TrialRun(tmp_path / "whole"))
    *_, cut = ToyTrainer().fit(recipe, data, TrialRun(tmp_path / "cut", stop_at=9, reason="deadline"))
    assert 1 < cut.at < 2
    *_, rest = ToyTrainer().fit(recipe, data, TrialRun(tmp_path / "rest", resume=cut.checkpoint))
    assert rest.checkpoint.facts["sha256"] == whole.checkpoint.facts["sha256"]


def test_nothing_to_keep_at_the_deadline(tmp_path):
    """A deadline before the first batch yields nothing."""
    assert list(ToyTrainer().fit(ToyRecipe(), tiny_data(), TrialRun(tmp_path, stop_at=1, reason="deadline"))) == []


def test_a_vanished_image_is_bad_data(tmp_path):
    """An image that cannot be read any more fails the trial as ``data``."""
    data = tiny_data()
    gone = data.task.train.reader.__self__
    gone.labels = gone.labels[:10]
    with pytest.raises(autotune.BadData) as caught:
        list(ToyTrainer().fit(ToyRecipe(), data, TrialRun(tmp_path)))
    assert caught.value.kind == "data"


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (17, 64), (100, 30)])
def test_shrink_keeps_the_mean(shape):
    """Images of any size become a grid; a uniform image keeps its shade."""
    image = np.full((*shape, 3), 51, np.uint8)
    assert shrink(image, 8).shape == (8 * 8 * 3,)
    assert np.allclose(shrink(image, 8), 0.2)


def test_shrink_averages_squares():
    """Every cell of the grid is the mean of its pixels."""
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    want = image.reshape(4, 2, 4, 2, 3).mean(axis=(1, 3)) / 255
    assert np.allclose(shrink(image, 4).reshape(4, 4, 3), want, atol=1e-6)


def test_scores_are_those_of_scikit_learn():
    """The four scores equal scikit-learn's, classes without labels left out."""
    from sklearn import metrics

    random = np.random.default_rng(1)
    labels = random.choice([0, 1, 2], 60)
    rows = random.dirichlet(np.ones(4), 60).astype(np.float32)
    found = score(rows, labels)
    predicted = rows.argmax(axis=1)
    exact = rows.astype(np.float64) / rows.astype(np.float64).sum(axis=1, keepdims=True)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    recalls = metrics.recall_score(labels, predicted, labels=[0, 1, 2], average="macro")
    assert found["balanced_accuracy"] == pytest.approx(recalls)
    f1 = metrics.f1_score(labels, predicted, labels=[0, 1, 2], average="macro")
    assert found["macro_f1"] == pytest.approx(f1)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(labels, exact, labels=[0, 1, 2, 3]))


def test_no_images_no_rows():
    """A model asked about nothing answers with no rows."""
    model = ToyModel(
        classes=("a", "b"), size=1, weight=np.zeros((3, 2), "f4"), bias=np.zeros(2, "f4"), mean=np.zeros(3, "f4")
    )
    assert model.logits([]).shape == (0, 2)


def test_temperature_survives():
    """A model's temperature is part of its state."""
    model = ToyModel(
        classes=("a", "b"),
        size=1,
        weight=np.zeros((3, 2), "f4"),
        bias=np.zeros(2, "f4"),
        mean=np.zeros(3, "f4"),
        temperature=2.5,
    )
    assert ToyModel.from_state(*model.state()).temperature == 2.5
