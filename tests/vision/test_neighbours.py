from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from autotune.vision import knn_probabilities, neighbours, prototypes


def some(count=40, features=6, classes=4, seed=0):
    """Random vectors, and a class for each."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, features, generator=generator)
    return vectors, torch.randint(0, classes, (count,), generator=generator)


def test_the_nearest_of_a_training_image_is_itself():
    """With k = 1 the training images get their own labels, for certain."""
    vectors, labels = some()
    odds = knn_probabilities(vectors, labels, vectors, classes=4, k=1, temperature=0.07)
    assert torch.equal(odds, functional.one_hot(labels, 4).float())


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_votes_are_weighted_by_similarity(temperature):
    """With all images voting, a class has the sum of exp(cosine / temperature) over its images, over that of all."""
    vectors, labels = some()
    queries, _ = some(7, seed=1)
    cosines = functional.cosine_similarity(queries[:, None], vectors[None], dim=2)
    weights = torch.exp(cosines.double() / temperature)
    wanted = torch.stack([weights[:, labels == c].sum(dim=1) for c in range(4)], dim=1) / weights.sum(dim=1)[:, None]
    odds = knn_probabilities(vectors, labels, queries, classes=4, k=1000, temperature=temperature)
    torch.testing.assert_close(odds, wanted.float(), rtol=1e-4, atol=1e-5)


def test_only_the_nearest_vote():
    """Classes without an image among the k nearest have no probability; the others' sum to 1, at any temperature."""
    vectors, labels = some()
    queries, _ = some(9, seed=2)
    odds = knn_probabilities(vectors, labels, queries, classes=6, k=2, temperature=1e-4)
    assert bool(torch.isfinite(odds).all())
    torch.testing.assert_close(odds.sum(dim=1), torch.ones(9))
    assert int((odds > 0).sum(dim=1).max()) <= 2


def test_the_length_of_a_vector_does_not_count():
    """Scaled vectors and scaled queries have the same neighbours."""
    vectors, labels = some()
    queries, _ = some(9, seed=2)
    plain = knn_probabilities(vectors, labels, queries, classes=4, k=5, temperature=0.1)
    scaled = knn_probabilities(3 * vectors, labels, 0.01 * queries, classes=4, k=5, temperature=0.1)
    torch.testing.assert_close(plain, scaled)


def test_room_decides_on_nothing(monkeypatch):
    """One query at a time, the votes are those of all at once."""
    vectors, labels = some()
    queries, _ = some(9, seed=3)
    whole = knn_probabilities(vectors, labels, queries, classes=4, k=5, temperature=0.1)
    monkeypatch.setattr(neighbours, "ELEMENTS", 1)
    torch.testing.assert_close(knn_probabilities(vectors, labels, queries, classes=4, k=5, temperature=0.1), whole)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"temperature": 0.0}, {"temperature": float("nan")}])
def test_what_makes_no_sense_is_refused(wrong):
    """No neighbours, or no temperature, is an error that names the values."""
    vectors, labels = some()
    with pytest.raises(ValueError, match="k of 1 or more"):
        knn_probabilities(vectors, labels, vectors, **{"classes": 4, "k": 3, "temperature": 0.1, **wrong})
    with pytest.raises(ValueError, match="not 0 images"):
        knn_probabilities(vectors[:0], labels[:0], vectors, classes=4, k=3, temperature=0.1)


def test_a_prototype_is_the_mean_of_its_class():
    """Each row is the mean of the class's vectors; of one image it is that image, of none zeros."""
    vectors, labels = some()
    labels[labels == 3] = 2
    means = prototypes(vectors, labels, 5)
    for c in range(3):
        torch.testing.assert_close(means[c], vectors[labels == c].mean(dim=0))
    assert not means[3:].any()
    assert torch.equal(prototypes(vectors[:4], torch.tensor([2, 0, 3, 1]), 4), vectors[[1, 3, 0, 2]])
