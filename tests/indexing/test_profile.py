from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from autotune.data import DataSource, Image, Item, Profile
from autotune.errors import DataError
from autotune.indexing.cache import Look
from autotune.indexing.profile import describe, listed, printable, profile
from autotune.indexing.table import Table

PLAIN = Profile(
    images=1200,
    counts={"cats": 900, "dogs": 300},
    train_counts={"cats": 630, "dogs": 210},
    sides={"train": 840, "val": 120, "test": 180, "select": 60},
    height=(20, 30, 40),
    width=(10, 15, 20),
    grey=False,
)


def test_a_profile_reads_as_lines() -> None:
    """Images, classes, sizes, imbalance and sides, one line each; nothing about what did not happen."""
    assert describe(PLAIN) == [
        "1,200 images of 2 classes: cats 900, dogs 300",
        "size: 10x20 to 20x40 px, median 15x30, colour",
        "balance: 210 to 630 training images in a class, 3.0 to 1",
        "sides: train 840 (70%), val 120 (10%), test 180 (15%), select 60 (5%); test is locked",
    ]


def test_equal_sizes_and_classes_are_said_shortly() -> None:
    """One size, one count."""
    equal = replace(PLAIN, train_counts={"a": 420, "b": 420}, height=(8, 8, 8), width=(9, 9, 9), grey=True)
    assert describe(equal)[1:3] == ["size: 9x8 px, grey", "balance: 420 training images in every class"]


def test_what_was_left_out_is_said() -> None:
    """Copies, dropped, conflicting and broken images, and classes that a side lacks."""
    worse = replace(
        PLAIN,
        copies=1,
        dropped=2,
        conflicts=(("a/1.png", "b/2.png"),),
        broken=(("a/\udce9.png", "root/a/\udce9.png: cannot be decoded"), ("b/4.png", "gone")),
        absent={"val": ("dogs",)},
    )
    assert describe(worse)[4:] == [
        "no val images of 'dogs': balanced accuracy, macro F1 and AUROC are means without them",
        "copies: 1 image with copies; all copies of an image are on one side",
        "left out: 2 images with a copy or a group member on a locked side",
        "left out: 1 image whose copies bear different labels, e.g. a/1.png = b/2.png",
        "left out: 2 broken images, e.g. root/a/\\udce9.png: cannot be decoded",
    ]


def test_many_classes_are_cut_short() -> None:
    """A thousand classes do not fill the screen."""
    line = describe(replace(PLAIN, counts={f"c{i}": 5 for i in range(1000)}))[0]
    assert line.endswith("c9 5 and 990 more")


def test_a_long_list_is_cut_short() -> None:
    """Ten lines, and how many are not shown."""
    assert listed(["a", "b"]) == "  a\n  b"
    assert listed(map(str, range(12))).splitlines()[9:] == ["  9", "  ... and 2 more"]


def test_every_text_can_be_printed() -> None:
    """What is no valid text becomes an escape; the rest stays."""
    assert printable("été 🐈 \udce9") == "été 🐈 \\udce9"


class Listed(DataSource):
    """Items without images."""

    def __init__(self, *labels: str) -> None:
        self.labels = labels

    def items(self) -> Iterator[Item]:
        """One for each label."""
        return (Item(key=str(i), label=label) for i, label in enumerate(self.labels))

    def read(self, key: str) -> Image:
        """There is none."""
        raise DataError(key)


def test_a_profile_counts_what_is_used() -> None:
    """Classes without images on a side are absent from it; an empty side is not mentioned."""
    table = Table(Listed("a", "b", "b", "a", "a"), "place")
    for number, (id, height) in enumerate([("1", 3), ("2", 4), ("2", 4), ("3", 9)]):
        table.put(number, Look(stamp="", id=id, height=height, width=7, grey=True))
    table.put(4, Look(stamp="", reason="gone"))
    parts = {"train": np.array([0, 1, 2]), "val": np.array([3]), "test": np.array([], dtype=np.int64)}
    found = profile(table, parts, conflicts=(), broken=table.broken(), dropped=0)  # type: ignore[arg-type]
    assert found == Profile(
        images=4,
        counts={"a": 2, "b": 2},
        train_counts={"a": 1, "b": 2},
        sides={"train": 3, "val": 1},
        height=(3, 4, 9),
        width=(7, 7, 7),
        grey=True,
        copies=1,
        broken=(("4", "gone"),),
        absent={"val": ("b",)},
    )
