from __future__ import annotations

import hashlib
import tempfile
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from numpy.typing import NDArray
from PIL import Image

from autotune.builtin.folders import open_folder
from autotune.data import DataSource, Item, Side
from autotune.errors import UsageError
from autotune.indexing.dataset import index
from autotune.indexing.splitting import SIDES, Columns, Fractions, Member, position, split, split_columns

FRACTIONS = Fractions()
TEST, VAL, SELECT, TRAIN = "0" * 16, "3" + "0" * 15, "4" + "8" * 15, "f" * 16  # on these sides by plain hash


def hashed(number: int) -> str:
    """A hash that looks like an image's."""
    return hashlib.blake2b(str(number).encode(), digest_size=8).hexdigest()


def images(numbers: st.SearchStrategy[int], classes: str = "ab") -> st.SearchStrategy[list[Member]]:
    """Different images, each with one label."""
    return st.dictionaries(numbers, st.sampled_from(classes), max_size=60).map(
        lambda labels: [Member(id=hashed(number), label=label) for number, label in labels.items()]
    )


def sides_of(members: list[Member], fractions: Fractions = FRACTIONS) -> dict[str, Side | None]:
    """The side of each image, by its hash."""
    return {m.id: side for m, side in zip(members, split(members, fractions), strict=True)}


def moved(members: list[Member]) -> list[Member]:
    """The members that the repair took from their plain side."""
    sides = split(members, FRACTIONS)
    return [m for m, side in zip(members, sides, strict=True) if side != FRACTIONS.side(position(m.id))]


def test_the_known_hashes_are_where_the_tests_say() -> None:
    """Positions near 0, 0.19, 0.28 and 1 are test, val, select and train."""
    assert [FRACTIONS.side(position(id)) for id in (TEST, VAL, SELECT, TRAIN)] == ["test", "val", "select", "train"]
    assert position("f" * 16) < 1


@settings(deadline=None)
@given(images(st.integers(0, 200)), images(st.integers(201, 400), "abc"))
def test_adding_files_moves_none_but_the_repaired(old: list[Member], new: list[Member]) -> None:
    """An image changes side only if the repair holds it before or after, and it holds three of a class at most."""
    before, after = sides_of(old), sides_of([*old, *new])
    repaired = {m.id for m in [*moved(old), *moved([*old, *new])]}
    assert {id for id in before if before[id] != after[id]} <= repaired
    for members in (old, [*old, *new]):
        assert max(Counter(m.label for m in moved(members)).values(), default=0) <= 3


@settings(deadline=None)
@given(images(st.integers(0, 10_000)))
def test_a_class_that_is_on_every_side_is_left_alone(some: list[Member]) -> None:
    """Where plain hashes put a class on all four sides, they stand, whatever else there is."""
    full = [Member(id=id[:-1] + digit, label="full") for id in (TEST, VAL, SELECT, TRAIN) for digit in "1234"]
    assert not [m for m in moved([*some, *full]) if m.label == "full"]


@settings(deadline=None)
@given(images(st.integers(0, 10_000), "abcdef"), st.sampled_from([FRACTIONS, FRACTIONS.given(10), Fractions(test=0)]))
def test_every_class_with_enough_images_is_on_every_side(members: list[Member], fractions: Fractions) -> None:
    """Three images suffice for train, val and test, ten for select too, and one is always trained on."""
    on: dict[str, Counter[Side | None]] = defaultdict(Counter)
    for member, side in zip(members, split(members, fractions), strict=True):
        on[member.label][side] += 1
    for counts in on.values():
        assert counts["train"]
        if counts.total() >= 3:
            assert counts["val"]
            assert counts["test"] or not fractions.test
        if counts.total() >= 10:
            assert counts["select"] or not fractions.select


GROUPED = st.lists(
    st.builds(
        Member,
        id=st.integers(0, 25).map(hashed),
        label=st.sampled_from("abc"),
        group=st.none() | st.sampled_from(["g1", "g2", "g3", "g4"]),
        side=st.none() | st.sampled_from(SIDES),
    ),
    max_size=50,
)


@settings(deadline=None)
@given(GROUPED)
def test_copies_and_groups_never_straddle(members: list[Member]) -> None:
    """One image, and one group, is on one side only, whatever the source prescribes; order plays no part."""
    sides = split(members, FRACTIONS)
    places: dict[object, set[Side]] = defaultdict(set)
    for member, side in zip(members, sides, strict=True):
        if side is not None:
            places[member.id].add(side)
            if member.group is not None:
                places[member.group, "group"].add(side)
    assert all(len(found) == 1 for found in places.values())
    order = sorted(range(len(members)), key=lambda i: (members[i].label, i))
    assert split([members[i] for i in order], FRACTIONS) == [sides[i] for i in order]


@settings(deadline=None)
@given(GROUPED)
def test_prescribed_sides_are_respected(members: list[Member]) -> None:
    """What the source puts on test, select or val stays there or, as a copy of something more locked, is dropped."""
    prescribed = {m.side for m in members}
    for member, side in zip(members, split(members, FRACTIONS), strict=True):
        if member.side not in (None, "train"):
            assert side in (member.side, None)
        elif side not in (None, "train") and member.side == "train":
            assert side not in prescribed


def test_missing_sides_are_cut_from_train() -> None:
    """With train and test folders, val and select are the hash's share of train, and nothing joins test."""
    given = [Member(id=hashed(i), label="ab"[i % 2], side="train") for i in range(2000)]
    locked = [Member(id=hashed(i), label="ab"[i % 2], side="test") for i in range(2000, 2400)]
    counts = Counter(split([*given, *locked], FRACTIONS))
    assert counts["test"] == 400
    assert counts["val"] == pytest.approx(200, rel=0.3)
    assert counts["select"] == pytest.approx(100, rel=0.3)
    assert counts["train"] == 2000 - counts["val"] - counts["select"]


def test_a_copy_in_train_of_a_locked_image_is_dropped() -> None:
    """The test folder keeps the image; train and val lose their copies; the rest of train stays."""
    members = [
        Member(id=TRAIN, label="a", side="test"),
        Member(id=TRAIN, label="a", side="train"),
        Member(id=TRAIN, label="a", side="val"),
        Member(id=VAL, label="a", side="train"),
    ]
    assert split(members, FRACTIONS) == ["test", None, None, "train"]


def test_the_split_is_approximately_stratified() -> None:
    """Each of ten classes of 1,000 has about the shares that were asked for."""
    members = [Member(id=hashed(i), label=str(i % 10)) for i in range(10_000)]
    counts = Counter((m.label, side) for m, side in zip(members, split(members, FRACTIONS), strict=True))
    for label in map(str, range(10)):
        assert counts[label, "test"] == pytest.approx(150, abs=45)
        assert counts[label, "val"] == pytest.approx(100, abs=40)
        assert counts[label, "select"] == pytest.approx(50, abs=30)


def test_two_classes_of_two_images_fill_three_sides() -> None:
    """The smallest data that can be used has something to train on, to rank by and to test with."""
    for start in range(0, 400, 4):
        members = [Member(id=hashed(start + i), label="aabb"[i]) for i in range(4)]
        assert Counter(split(members, FRACTIONS.given(4))) == {"train": 2, "val": 1, "test": 1}


def test_a_group_of_several_classes_is_not_taken_from_them() -> None:
    """Repairing a small class never empties a side for another one."""
    members = [
        *(Member(id=hashed(i), label="small", group=f"g{i}") for i in range(4)),
        *(Member(id=hashed(10 + i), label="large", group=f"g{i}") for i in range(4)),
    ]
    for label in ("small", "large"):
        sides = {side for m, side in zip(members, split(members, FRACTIONS.given(8)), strict=True) if m.label == label}
        assert sides == {"train", "val", "test"}


def test_below_a_thousand_images_select_joins_val() -> None:
    """Growing past 1,000 images makes a part of val the select side; train and test stay as they are."""
    small, large = FRACTIONS.given(999), FRACTIONS.given(1000)
    assert small.val == pytest.approx(0.15)
    assert (small.select, small.test, large) == (0, 0.15, FRACTIONS)
    for i in range(1000):
        where = position(hashed(i))
        assert (small.side(where), large.side(where)) in {
            ("train", "train"), ("test", "test"), ("val", "val"), ("val", "select"),
        }  # fmt: skip


@pytest.mark.parametrize(
    ("shares", "named"),
    [
        ({"test": -0.1}, "splits.test"),
        ({"test": 1.0}, "splits.test"),
        ({"val": 0}, "splits.val"),
        ({"val": "0.1"}, "splits.val"),
        ({"select": float("nan")}, "splits.select"),
        ({"select": True}, "splits.select"),
        ({"test": 0.5, "val": 0.4, "select": 0.1}, "leave at least 0.1 for train"),
    ],
)
def test_impossible_shares_are_refused(shares: dict[str, object], named: str) -> None:
    """A share that is no share is an error which names it."""
    with pytest.raises(UsageError, match=named):
        Fractions(**shares)  # type: ignore[arg-type]


LOSSLESS = {"png": {}, "bmp": {}, "tiff": {"compression": "tiff_lzw"}, "webp": {"lossless": True, "exact": True}}


def write(path: Path, number: int) -> None:
    """Writes the picture of a number, in the format of the path's suffix, without loss."""
    pixels = np.random.default_rng(number).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **LOSSLESS[path.suffix[1:]])


def found(folder: Path, cache: Path, source: DataSource | None = None) -> dict[Side, list[tuple[str, str]]]:
    """Hash and key of every image of each side, of class folders or another source."""
    made = index(source or open_folder(str(folder)), location=str(folder), fractions=FRACTIONS, cache=cache)
    task, holdout = made.data.task, made.holdout
    assert holdout.select is None
    sides = {"train": task.train, "val": task.val, "test": holdout.test}
    return {side: list(zip(part.ids, part.keys, strict=True)) for side, part in sides.items()}  # type: ignore[misc]


COPIES = st.lists(
    st.tuples(st.integers(0, 29), st.sampled_from(sorted(LOSSLESS)), st.sampled_from(["copy", "deeper/copy", "ä b"])),
    max_size=12,
    unique=True,
)


@settings(deadline=None, max_examples=20)
@given(COPIES, st.integers(0, 10**6))
def test_a_copy_in_any_lossless_format_never_straddles(copies: list[tuple[int, str, str]], seed: int) -> None:
    """Renamed, moved within its class, or in another format, a copy is where its original is, and moves it nowhere."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "images")
        for number in range(30):
            write(folder / "ab"[number % 2] / f"{number}.png", seed + number)
        before = found(folder, Path(name, "cache"))
        for number, suffix, called in copies:
            write(folder / "ab"[number % 2] / f"{called} {number}.{suffix}", seed + number)
        after = found(folder, Path(name, "cache"))
    assert sum(map(len, after.values())) == 30 + len(copies)
    for side, images in before.items():
        assert {id for id, _ in after[side]} == {id for id, _ in images}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_adding_files_to_whole_classes_moves_no_other(seed: int, more: int) -> None:
    """Where both classes are on every side by their hashes alone, no file changes its side, whatever is added."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "images")
        for number in range(80):
            write(folder / "ab"[number % 2] / f"{number}.png", seed + number)
        before = found(folder, Path(name, "cache"))
        fractions = FRACTIONS.given(80)
        plain = {
            side: [key for id, key in images if fractions.side(position(id)) == side] for side, images in before.items()
        }
        assume(all(plain[side] == [key for _, key in before[side]] for side in before))
        for number in range(more):
            write(folder / "abc"[number % 3] / f"more {number}.png", seed + 10**7 + number)
        write(folder / "c" / "first.png", seed + 2 * 10**7)
        write(folder / "c" / "second.png", seed + 2 * 10**7 + 1)
        after = found(folder, Path(name, "cache"))
    for side, images in before.items():
        assert set(images) <= set(after[side])


class Grouped(DataSource):
    """Pictures of which every so many are one patient's."""

    def __init__(self, groups: list[int]) -> None:
        self.groups = groups

    def items(self) -> Iterator[Item]:
        """Two classes, in turn."""
        for number, group in enumerate(self.groups):
            yield Item(key=str(number), label="ab"[number % 2], group=f"patient {group}")

    def read(self, key: str) -> NDArray[np.uint8]:
        """Random pixels."""
        return np.random.default_rng(int(key)).integers(0, 256, (4, 4, 3), dtype=np.uint8)


def spread(groups: list[int]) -> bool:
    """Whether each of the two classes has images in five groups or more."""
    return min(len(set(groups[0::2])), len(set(groups[1::2]))) >= 5


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 20), min_size=80, max_size=120).filter(spread))
def test_a_group_of_a_source_never_straddles(groups: list[int]) -> None:
    """All images of one patient are on one side, and none is left out."""
    with tempfile.TemporaryDirectory() as name:
        sides = found(Path("grouped"), Path(name), Grouped(groups))
    places: dict[int, set[str]] = defaultdict(set)
    for side, images in sides.items():
        for _, key in images:
            places[groups[int(key)]].add(side)
    assert all(len(some) == 1 for some in places.values())
    assert sum(map(len, sides.values())) == len(groups)


def test_columns_and_members_are_split_alike() -> None:
    """Half a thousand grouped images in columns are on the sides of the same images as members."""
    members = [
        Member(id=hashed(i % 400), label="abc"[i % 3], group=f"g{i % 90}" if i % 4 else None) for i in range(500)
    ]
    columns = Columns.of(members)
    shuffled = np.random.default_rng(0).permutation(500)
    mixed = replace(
        columns, ids=columns.ids[shuffled], labels=columns.labels[shuffled], groups=columns.groups[shuffled],
        sides=columns.sides[shuffled],
    )  # fmt: skip
    assert split_columns(mixed, FRACTIONS).tolist() == split_columns(columns, FRACTIONS)[shuffled].tolist()
    assert [SIDES[side] for side in split_columns(columns, FRACTIONS)] == split(members, FRACTIONS)


def test_many_images_are_split_in_little_memory() -> None:
    """A hundred thousand images, a tenth of them grouped, take less than 300 bytes each."""
    rng = np.random.default_rng(0)
    count = 100_000
    columns = Columns(
        ids=rng.integers(0, 2**64, count, dtype=np.uint64),
        labels=rng.integers(0, 1000, count),
        groups=np.where(rng.random(count) < 0.1, rng.integers(0, 500, count), -1),
        sides=np.full(count, -1),
        group_hashes=rng.integers(0, 2**64, 500, dtype=np.uint64),
    )
    tracemalloc.start()
    try:
        sides = split_columns(columns, FRACTIONS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 300 * count
    shares = np.bincount(sides, minlength=4) / count
    assert shares == pytest.approx([0.7, 0.1, 0.15, 0.05], abs=0.03)
