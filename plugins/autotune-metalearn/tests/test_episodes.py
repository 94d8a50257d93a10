"""Tasks drawn from many classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from autotune_metalearn.episodes import Drawer

import autotune

LABELS = np.array([0] * 7 + [1] * 5 + [2] * 9 + [3] * 6 + [4] * 8, dtype=np.int64)


def test_a_task_has_other_images_to_ask_about() -> None:
    """Classes differ within a task, images are of their class, and none is both learned from and asked about."""
    shuffled = np.random.default_rng(0).permutation(LABELS)
    episodes = Drawer(shuffled).draw(50, ways=3, shots=2, queries=3, seed=1)
    assert (len(episodes), episodes.support.shape, episodes.query.shape) == (50, (50, 6), (50, 9))
    assert episodes.support_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert episodes.query_labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for support, query in zip(episodes.support.numpy(), episodes.query.numpy(), strict=True):
        assert len({*support, *query}) == 15
        classes = shuffled[support].reshape(3, 2)
        assert (classes == classes[:, :1]).all()
        assert len(set(classes[:, 0])) == 3
        assert (shuffled[query].reshape(3, 3) == classes[:, :1]).all()


def test_every_class_and_image_is_drawn() -> None:
    """Over many tasks every image of every class that has enough is in some support; small classes never are."""
    episodes = Drawer(LABELS).draw(400, ways=2, shots=2, queries=4, seed=0)
    drawn = set(episodes.support.flatten().tolist())
    assert drawn == {i for i, label in enumerate(LABELS) if label != 1}


def test_the_seed_decides() -> None:
    """The same seed gives the same tasks, another one others."""
    drawer = Drawer(LABELS)
    one, same, other = (drawer.draw(20, ways=3, shots=1, queries=1, seed=seed).support for seed in (4, 4, 5))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_parts_are_all_of_them() -> None:
    """A hundred tasks at a time, in order; nothing to ask about is allowed."""
    episodes = Drawer(LABELS).draw(230, ways=2, shots=3, queries=0, seed=0)
    assert [len(part) for part in episodes.parts()] == [100, 100, 30]
    assert torch.equal(torch.cat([part.support for part in episodes.parts()]), episodes.support)
    assert episodes.query.shape == (230, 0)


def test_classes_that_are_too_small_are_an_error() -> None:
    """Four classes have six images or more."""
    with pytest.raises(autotune.DataError, match="4 classes have 6 images or more, and 5-way tasks need 5"):
        Drawer(LABELS).draw(1, ways=5, shots=2, queries=4, seed=0)
