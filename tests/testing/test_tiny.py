"""Tiny data: the same for a seed, learnable, in memory and in folders."""

from __future__ import annotations

import numpy as np
import pytest

import autotune
from autotune.images import read_image
from autotune.testing import MemorySource, tiny_data, tiny_folder, tiny_images, tiny_tasks


def test_the_seed_decides():
    """The same seed gives the same pixels, another seed others."""
    assert np.array_equal(tiny_images(seed=3)[0], tiny_images(seed=3)[0])
    assert not np.array_equal(tiny_images(seed=3)[0], tiny_images(seed=4)[0])


@pytest.mark.parametrize("classes", [2, 5, 8])
def test_nearest_means_tell_the_classes_apart(classes):
    """Images of one class are nearer to each other than to the others."""
    images, labels = tiny_images(classes, 10)
    pixels = images.reshape(len(images), -1).astype(float)
    means = np.stack([pixels[labels == c].mean(axis=0) for c in range(classes)])
    nearest = ((pixels[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == labels).all()


def test_data_is_what_a_trainer_is_given():
    """Sides do not overlap, labels index the classes, every image can be read, the profile counts."""
    data = tiny_data(4, train=5, val=3, size=9)
    task = data.task
    assert (len(task.train), len(task.val)) == (20, 12)
    assert not set(task.train.ids) & set(task.val.ids)
    assert task.classes == ("class-0", "class-1", "class-2", "class-3")
    assert np.bincount(task.train.labels).tolist() == [5, 5, 5, 5]
    assert task.val.image(11).shape == (9, 9, 3)
    assert task.profile.images == 32
    assert task.profile.imbalance == 1


def test_tasks_are_named_and_unlike():
    """Two tasks with names, classes and sizes of their own share no image."""
    many, few = tiny_tasks().tasks
    assert (many.name, few.name) == ("many", "few")
    assert (len(many.classes), len(few.classes)) == (3, 2)
    assert len(few.train) < len(many.train)
    assert not {*many.train.ids, *many.val.ids} & {*few.train.ids, *few.val.ids}


def test_folders_hold_the_same_images(tmp_path):
    """Class folders hold the generated images without a loss."""
    folder = tiny_folder(tmp_path, 2, 3, size=8)
    images, _ = tiny_images(2, 3, size=8)
    paths = sorted(folder.rglob("*.png"))
    assert [str(p.relative_to(folder)) for p in paths] == [
        "class-0/0000.png",
        "class-0/0001.png",
        "class-0/0002.png",
        "class-1/0000.png",
        "class-1/0001.png",
        "class-1/0002.png",
    ]
    assert np.array_equal(read_image(paths[1]), images[2])
    assert np.array_equal(read_image(paths[3]), images[1])


def test_a_missing_image_in_memory():
    """A key that is not there is a DataError."""
    with pytest.raises(autotune.DataError):
        MemorySource([], []).read("0")
