from __future__ import annotations

import hashlib
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings, strategies as st

from autotune.data import Side
from autotune.errors import UsageError
from autotune.splitting import SIDES, Fractions, Member, position, split

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
