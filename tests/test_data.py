from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autotune.data import Data, Profile, Split, Task
from autotune.errors import UsageError

SPLIT = Split(
    ids=("aa", "bb", "cc"),
    labels=np.array([0, 1, 0], dtype=np.int64),
    keys=("1", "2", "3"),
    reader=lambda key: np.full((1, 1, 3), int(key), dtype=np.uint8),
)
PROFILE = Profile(
    images=3, counts={"x": 2, "y": 1}, sides={"train": 3}, height=(1, 1, 1), width=(1, 1, 1), grey=True
)  # fmt: skip


def test_a_split_reads_its_images() -> None:
    """By position, through the source's reader."""
    assert len(SPLIT) == 3
    assert SPLIT.image(1).tolist() == [[[2, 2, 2]]]


def test_a_part_of_a_split_is_a_split() -> None:
    """Ids, labels, keys and images stay together, in the order that was asked for; nothing is a split too."""
    part = SPLIT.take([2, 0])
    assert (part.ids, part.keys, part.labels.tolist()) == (("cc", "aa"), ("3", "1"), [0, 0])
    assert int(part.image(0)[0, 0, 0]) == 3
    assert len(SPLIT.take([])) == 0


def test_a_part_keeps_what_its_images_teach() -> None:
    """The probabilities of a side follow their images; a side without them stays without."""
    soft = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], dtype=np.float32)
    part = replace(SPLIT, soft=soft).take([2, 0])
    assert part.soft is not None
    assert np.array_equal(part.soft, soft[[2, 0]])
    assert SPLIT.soft is None
    assert SPLIT.take([1]).soft is None


def test_imbalance_is_largest_over_smallest() -> None:
    """Two to one is 2; an empty class counts as one image."""
    assert PROFILE.imbalance == 2


def test_the_only_task_is_at_hand() -> None:
    """With several, a trainer that asks for the only one is told so."""
    task = Task(name="t", classes=("x", "y"), train=SPLIT, val=SPLIT, profile=PROFILE)
    assert Data(tasks=(task,), fingerprint="f").task is task
    with pytest.raises(UsageError, match="handles one task, the data has 2"):
        _ = Data(tasks=(task, task), fingerprint="f").task
