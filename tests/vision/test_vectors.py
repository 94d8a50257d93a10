from __future__ import annotations

import pytest
import torch

from autotune.vision import VectorFeed, moments, standard, vectors


class Listed:
    """Vectors that are read row by row."""

    def __init__(self, whole):
        self.whole = whole

    def __len__(self):
        return len(self.whole)

    def rows(self, indices):
        """Some of them."""
        return self.whole[indices]


@pytest.fixture
def whole():
    """Fifty vectors of five features."""
    return torch.randn(50, 5, generator=torch.Generator().manual_seed(0))


def test_an_epoch_is_every_vector_once_with_its_target(whole):
    """Batches of at most the size asked for hold each vector once, beside what it stands for."""
    feed = VectorFeed(whole, torch.arange(50), seed=1)
    batches = list(feed.epoch(0, 16))
    assert max(len(targets) for _, targets in batches) <= 16
    places = torch.cat([targets for _, targets in batches])
    assert sorted(places.tolist()) == list(range(50))
    assert torch.equal(torch.cat([inputs for (inputs,), _ in batches]), whole[places])


def test_the_order_depends_on_seed_and_epoch(whole):
    """The same seed and epoch give the same order, another of either another one."""

    def order(seed, epoch):
        return torch.cat([t for _, t in VectorFeed(whole, torch.arange(50), seed=seed).epoch(epoch, 16)]).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_another_order_is_followed(whole):
    """Places that are given for an epoch and a batch size are what its batches hold, some of them more than once."""
    targets = torch.arange(50)
    feed = VectorFeed(whole, targets, order=lambda epoch, size: torch.split((targets * 3 + epoch) % 25, size))
    batches = [places for _, places in feed.epoch(2, 20)]
    assert torch.equal(torch.cat(batches), (targets * 3 + 2) % 25)
    assert [len(places) for places in batches] == [20, 20, 10]
    assert torch.equal(torch.cat([inputs for (inputs,), _ in feed.epoch(2, 20)]), whole[torch.cat(batches)])


def test_read_or_held_is_the_same(whole, monkeypatch):
    """Rows that are read give the batches, the plain walk and the moments of the tensor that they are rows of."""
    monkeypatch.setattr(vectors, "CHUNK", 8)
    held, read = (VectorFeed(one, torch.arange(50), seed=1) for one in (whole, Listed(whole)))
    for (a, x), (b, y) in zip(held.epoch(3, 16), read.epoch(3, 16), strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(x, y)
    assert torch.equal(torch.cat([p for (p,) in read.plain()]), whole)
    assert torch.equal(torch.cat([p for (p,) in held.plain()]), whole)
    for one, other in zip(moments(whole), moments(Listed(whole)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("chunk", [7, 4096])
def test_moments_are_those_of_the_features(whole, chunk, monkeypatch):
    """Means and deviations are torch's, far from zero too, however many vectors are read at once."""
    monkeypatch.setattr(vectors, "CHUNK", chunk)
    for features in (whole, 1000 + whole, 1e-4 * whole):
        mean, deviation = moments(features)
        torch.testing.assert_close(mean, features.double().mean(dim=0).float(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(deviation, features.double().std(dim=0, correction=0).float(), rtol=1e-4, atol=1e-9)


def test_a_constant_feature_has_no_deviation(whole):
    """Its deviation is exactly 0, rounding or not."""
    whole[:, 2] = 0.1
    whole[:, 3] = 0.0
    mean, deviation = moments(whole)
    assert deviation[2:4].tolist() == [0.0, 0.0]
    assert mean[2] == pytest.approx(0.1)
    assert bool((deviation[[0, 1, 4]] > 0.5).all())


def test_like_features_are_standardised(whole):
    """Features of one deviation get, but for one factor, mean 0 and deviation 1, wherever they lie."""
    like = 30 * whole / whole.std(dim=0, correction=0) + torch.linspace(-5, 5, 5)
    mean, scale = standard(like)
    moved = (like - mean) / scale * 2**0.5
    torch.testing.assert_close(moved.mean(dim=0), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(moved.std(dim=0, correction=0), torch.ones(5))


def test_what_hardly_varies_stays_small(whole):
    """A feature that is nearly constant among the training images cannot drown the others in a new image."""
    whole[:, 2] = 0.0
    whole[7, 2] = 1e-4
    mean, scale = standard(whole)
    new = (torch.ones(5) - mean) / scale
    assert float(new[2].abs()) < 2
    assert standard(torch.full((4, 3), 7.0))[1].tolist() == [1.0, 1.0, 1.0]
