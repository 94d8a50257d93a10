from __future__ import annotations

import numpy as np
import pytest
import torch

from autotune.plugins import load_plugins
from autotune.testing import tiny_data
from autotune.vision import cross_fitted, frozen_features, pixel_features


def test_nobody_is_asked_about_what_it_was_fitted_to() -> None:
    """Labels of pure chance are guessed no better than by chance, though features tell every image apart."""
    random = np.random.default_rng(0)
    features = torch.eye(200)
    labels = random.integers(0, 2, 200)
    ids = [f"{i:016x}" for i in random.permutation(200)]
    probabilities = cross_fitted(features, labels, ids, classes=2)
    assert probabilities.shape == (200, 2)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=1) == labels).mean() < 0.65


def test_copies_tell_nothing_of_each_other() -> None:
    """The same for images that lie there twice: a copy in another fold would give the label away."""
    random = np.random.default_rng(0)
    features = torch.eye(100).repeat(2, 1)
    labels = np.tile(random.integers(0, 2, 100), 2)
    probabilities = cross_fitted(features, labels, [f"{i:016x}" for i in range(100)] * 2, classes=2)
    assert (probabilities.argmax(axis=1) == labels).mean() < 0.65


def test_what_can_be_learned_is_learned() -> None:
    """Two clouds of points are told apart, and the order of the images plays no part."""
    random = np.random.default_rng(1)
    labels = np.tile([0, 1, 2], 40)
    features = torch.from_numpy(random.normal(labels[:, None] * 3, 1, (120, 5)).astype(np.float32))
    ids = [f"{i:016x}" for i in range(120)]
    probabilities = cross_fitted(features, labels, ids, classes=3)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.9
    order = random.permutation(120)
    again = cross_fitted(features[order], labels[order], [ids[i] for i in order], classes=3)
    assert np.allclose(again, probabilities[order], atol=1e-3)


@pytest.mark.parametrize(("grey", "length"), [(True, 784), (False, 768)])
def test_small_pixels(grey: bool, length: int) -> None:
    """A vector of the same length for images of any size, and every image is told."""
    side = tiny_data().task.train
    told: list[tuple[int, int]] = []
    rows = pixel_features(side, grey=grey, progress=lambda done, total: told.append((done, total)))
    assert rows.shape == (len(side), length)
    assert 0 <= float(rows.min()) < float(rows.max()) <= 1
    assert told[-1] == (len(side), len(side))


def test_a_frozen_network_gives_one_vector_an_image() -> None:
    """What its head reads, the same each time."""
    task = tiny_data().task
    backbone = load_plugins().backbone_source("timm").backbone("resnet18")
    first = frozen_features(task.val, task, backbone, device="cpu")
    assert first.shape == (len(task.val), 512)
    assert torch.isfinite(first).all()
    assert torch.equal(frozen_features(task.val, task, backbone, device="cpu"), first)
