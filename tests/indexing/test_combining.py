"""Several sets of images as tasks: no image trains one task and judges another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from autotune.data import Dataset, DataSource, Image, Item
from autotune.errors import DataError, UsageError
from autotune.indexing.combining import combine, task_names
from autotune.indexing.dataset import Fractions, describe, index
from autotune.indexing.profile import together


class Drawn(DataSource):
    """Images drawn from their keys: the same key is the same image in every set."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.listed = items

    def items(self) -> Iterable[Item]:
        """As given."""
        return self.listed

    def read(self, key: str) -> Image:
        """Noise that depends on the key."""
        return np.random.default_rng(list(key.encode())).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def numbered(first: int, last: int, classes: str = "ab", **more: object) -> list[Item]:
    """Images by number, class by class in turn."""
    return [Item(key=f"{i:05d}", label=classes[i % len(classes)], **more) for i in range(first, last)]


def indexed(items: Sequence[Item], cache: Path, name: str) -> Dataset:
    """One set with the usual shares."""
    return index(Drawn(items), location=f"drawn:{name}", fractions=Fractions(), cache=cache, name=name)


def locked(dataset: Dataset, task: int) -> set[str]:
    """What a task keeps for val, select and test."""
    held = dataset.holdouts[task]
    select = set(held.select.ids) if held.select is not None else set()
    return {*dataset.data.tasks[task].val.ids, *select, *held.test.ids}


def test_a_single_set_is_left_as_it_is(tmp_path):
    """One dataset combined is that dataset."""
    alone = indexed(numbered(0, 60), tmp_path, "a")
    assert combine([alone]) is alone
    assert alone.holdouts == (alone.holdout,)
    assert alone.test_fingerprint == alone.holdout.test_fingerprint


def test_every_set_becomes_a_task(tmp_path):
    """Sets that share nothing stay whole; each keeps its own sides, and the fingerprint is that of all in order."""
    first, second = indexed(numbered(0, 1100), tmp_path, "a"), indexed(numbered(2000, 2060, "xyz"), tmp_path, "b")
    both = combine([first, second])
    assert [task.name for task in both.data.tasks] == ["a", "b"]
    assert both.data.tasks == (first.data.task, second.data.task)
    assert both.holdouts == (first.holdout, second.holdout)
    assert (both.holdouts[0].select is None, both.holdouts[1].select is None) == (False, True)
    assert both.location == "drawn:a, drawn:b"
    assert both.facts == {"decoded": 1160, "reused": 0}
    assert both.data.fingerprint != combine([second, first]).data.fingerprint
    with pytest.raises(UsageError, match="the data has 2"):
        _ = both.data.task


@pytest.mark.parametrize("side", ["val", "test"])
def test_what_one_task_keeps_no_other_trains_on(tmp_path, side):
    """Training images that lie on another task's locked side are left out, counted and told; the sides stay."""
    shared = numbered(0, 30, side=side)
    judged = indexed([*shared, *numbered(100, 160, side="train")], tmp_path, "judged")
    trained = indexed(numbered(0, 90), tmp_path, "trained")
    both = combine([trained, judged])
    for task in (0, 1):
        train = set(both.data.tasks[task].train.ids)
        assert not train & locked(both, 0)
        assert not train & locked(both, 1)
    mine, before = both.data.tasks[0], trained.data.task
    gone = len(before.train) - len(mine.train)
    assert gone == len(set(before.train.ids) & locked(both, 1)) > 0
    assert mine.val.ids == before.val.ids
    assert mine.profile.shared == gone
    assert mine.profile.images == before.profile.images - gone == sum(mine.profile.sides.values())
    assert sum(mine.profile.counts.values()) == mine.profile.images
    assert mine.profile.sides["train"] == len(mine.train)
    (line,) = [line for line in describe(mine.profile) if "another task" in line]
    assert f"{gone} training images" in line
    assert both.data.fingerprint.split("+")[0] != trained.data.fingerprint


def test_the_same_set_twice_shares_no_locked_image(tmp_path):
    """Split by the same hashes, two sets of the same images keep all of their training images."""
    both = combine([indexed(numbered(0, 300), tmp_path, "a"), indexed(numbered(0, 300, "xy"), tmp_path, "b")])
    one, other = both.data.tasks
    assert set(one.train.ids) == set(other.train.ids)
    assert (one.profile.shared, other.profile.shared) == (0, 0)


def test_a_class_that_is_left_without_images_is_an_error(tmp_path):
    """Where another task keeps all training images of a class, the task and the class are named."""
    mine = indexed(numbered(0, 60), tmp_path, "mine")
    of_a = [Item(key=item.key, label=f"{i % 2}", side="test") for i, item in enumerate(numbered(0, 60)[::2])]
    other = indexed([*of_a, *numbered(100, 160, "01", side="train")], tmp_path, "other")
    with pytest.raises(DataError, match="task 'mine': 1 of 2 classes have no image left to train on") as caught:
        combine([mine, other])
    assert "\n  a" in caught.value.message
    assert caught.value.hint


def test_names_are_those_of_the_places(tmp_path):
    """The last part of each place; two of one name, or one that no metric could bear, are refused."""
    assert task_names(["x/pets", "digits", "s3://b/toys"]) == ("pets", "digits", "toys")
    with pytest.raises(UsageError, match=r"x/pets and y/pets would both be the task 'pets'"):
        task_names(["x/pets", "digits", "y/pets"])
    (tmp_path / "a:b").mkdir()
    assert task_names([str(tmp_path / "a:b")]) == ("a:b",)
    with pytest.raises(UsageError, match="'a:b' cannot be a task's name"):
        task_names([str(tmp_path / "a:b"), "digits"])


def test_a_profile_of_all_tasks_spans_them(tmp_path):
    """Images and sides are summed, sizes span all, and a single profile is itself."""
    profiles = [indexed(numbered(0, 60), tmp_path, "a").data.task.profile] * 2
    both = together(profiles)
    assert both.images == 120
    assert both.sides["train"] == 2 * profiles[0].sides["train"]
    assert both.height == (4, 4, 4)
    assert len(both.counts) == 4
    assert together(profiles[:1]) is profiles[0]
