from __future__ import annotations

from dataclasses import replace

from autotune.data import Item, Profile
from autotune.index_cache import Look
from autotune.index_profile import describe, listed, printable, profile

PLAIN = Profile(
    images=1200,
    counts={"cats": 900, "dogs": 300},
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
        "balance: 300 to 900 images in a class, 3.0 to 1",
        "sides: train 840 (70%), val 120 (10%), test 180 (15%), select 60 (5%); test is locked",
    ]


def test_equal_sizes_and_classes_are_said_shortly() -> None:
    """One size, one count."""
    equal = replace(PLAIN, counts={"a": 600, "b": 600}, height=(8, 8, 8), width=(9, 9, 9), grey=True)
    assert describe(equal)[1:3] == ["size: 9x8 px, grey", "balance: 600 images in every class"]


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
        "no val images of 'dogs'",
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


def test_a_profile_counts_what_is_used() -> None:
    """Classes without images on a side are absent from it; an empty side is not mentioned."""

    def seen(label: str, id: str, height: int, grey: bool = True) -> tuple[Item, Look]:
        return Item(key=id, label=label), Look(stamp="", id=id, height=height, width=7, grey=grey)

    found = profile(
        {"train": [seen("a", "1", 3), seen("b", "2", 4), seen("b", "2", 4)], "val": [seen("a", "3", 9)], "test": []},
        ["a", "b"],
        conflicts=(),
        broken=(),
        dropped=0,
    )
    assert found == Profile(
        images=4,
        counts={"a": 2, "b": 2},
        sides={"train": 3, "val": 1},
        height=(3, 4, 9),
        width=(7, 7, 7),
        grey=True,
        copies=1,
        absent={"val": ("b",)},
    )
