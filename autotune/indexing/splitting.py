"""Which side each image is on: train, val, select or test.

The pixels' hash (or the group's) is read as a number in [0, 1), and the number says the side. So an image's plain
side depends on nothing but the image, and adding or removing other files does not move it:

    0        test      test+val   test+val+select      1
    |  test  |   val   |  select  |       train        |

Three things move an image from its plain side. A side that the source prescribes is respected. Copies of one image
and members of one group form a *unit* that stays together. And a class that misses a side is repaired: for each
missing side one unit moves there, so at most three units of a class are elsewhere than chance put them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from autotune.data import Side
from autotune.errors import UsageError

SELECT_FROM = 1000
"""Images from which a select side is cut; below, its share goes to val, so that train and test stay as they are."""

SIDES: tuple[Side, ...] = ("train", "val", "test", "select")
"""In the order in which a small class is given images."""

_LOCKED_FIRST: tuple[Side, ...] = ("test", "select", "val", "train")
_EACH_OTHERS: tuple[tuple[Side, Side], ...] = (("test", "val"), ("val", "test"))
_UNITS_FOR_SELECT = 10
_NONE = -1


@dataclass(frozen=True, kw_only=True)
class Fractions:
    """The shares of the images that leave train.

    Attributes:
        test: Locked; 0 makes no test side.
        val: Ranks the search; more than 0.
        select: Chooses among finalists; 0 makes no select side.

    Raises:
        UsageError: A share is not a number from 0 to 1, val is 0, or less than a tenth is left for train.
    """

    test: float = 0.15
    val: float = 0.10
    select: float = 0.05

    def __post_init__(self) -> None:
        for name in ("test", "val", "select"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
                raise UsageError(f"splits.{name} is {value!r}", hint="give a share from 0 to 1, e.g. 0.1")
        if self.val == 0:
            raise UsageError("splits.val is 0", hint="the search ranks by val: give it a share, e.g. 0.1")
        if self.test + self.val + self.select > 0.9 + 1e-9:
            raise UsageError(
                f"splits.test, val and select take {self.test:g} + {self.val:g} + {self.select:g} of the images",
                hint="leave at least 0.1 for train",
            )

    def given(self, images: int) -> Fractions:
        """The shares for so many images: below 1,000, select's goes to val."""
        if images >= SELECT_FROM or not self.select:
            return self
        return Fractions(test=self.test, val=self.val + self.select, select=0)

    def side(self, position: float) -> Side:
        """The plain side of a position in [0, 1)."""
        for side, (low, high) in self.intervals().items():
            if low <= position < high:
                return side
        return "train"

    def intervals(self) -> dict[Side, tuple[float, float]]:
        """Where each side that has a share begins and ends."""
        val, select = self.test + self.val, self.test + self.val + self.select
        ends: dict[Side, tuple[float, float]] = {
            "test": (0.0, self.test),
            "val": (self.test, val),
            "select": (val, select),
            "train": (select, 1.0),
        }
        return {side: ends[side] for side in SIDES if ends[side][0] < ends[side][1]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What splitting needs to know of one image.

    Attributes:
        id: Hash of its pixels, 16 hexadecimal digits.
        label: Its class.
        group: Its group, if it has one.
        side: The side that the source prescribes, if it does.
    """

    id: str
    label: str
    group: str | None = None
    side: Side | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What splitting needs to know of many images, in columns.

    Attributes:
        ids: uint64 [N], hashes of the pixels.
        labels: int [N], their classes, in the order of the classes' names.
        groups: int [N], their groups; -1 for an image without one.
        sides: int [N], the sides that the source prescribes, indices into `SIDES`; -1 where it does not.
        group_hashes: uint64 [G], `group_hash` of each group.
    """

    ids: npt.NDArray[np.uint64]
    labels: npt.NDArray[np.integer]
    groups: npt.NDArray[np.integer]
    sides: npt.NDArray[np.integer]
    group_hashes: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, members: Sequence[Member]) -> Columns:
        """The columns of some images."""
        labels = {label: number for number, label in enumerate(sorted({member.label for member in members}))}
        groups = {group: number for number, group in enumerate({m.group: None for m in members if m.group is not None})}
        sides: dict[Side | None, int] = {None: _NONE}
        sides |= {side: number for number, side in enumerate(SIDES)}
        return cls(
            ids=np.array([int(member.id, 16) for member in members], dtype=np.uint64),
            labels=np.array([labels[member.label] for member in members], dtype=np.int64),
            groups=np.array([_NONE if m.group is None else groups[m.group] for m in members], dtype=np.int64),
            sides=np.array([sides[member.side] for member in members], dtype=np.int64),
            group_hashes=np.array([group_hash(group) for group in groups], dtype=np.uint64),
        )


def position(id: str) -> float:
    """Reads a hash of 16 hexadecimal digits as a number in [0, 1)."""
    return (int(id, 16) >> 11) / 2**53  # 53 bits, so that rounding never gives 1.0


def group_hash(group: str) -> int:
    """The hash by which a group finds its side, 64 bits."""
    return int.from_bytes(hashlib.blake2b(group.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def split(members: Sequence[Member], fractions: Fractions) -> list[Side | None]:
    """The side of each member, in order; None for one that is left out. See `split_columns`.

    Args:
        members: In any order: the result does not depend on it.
        fractions: The shares, already `Fractions.given` the number of images.
    """
    found = split_columns(Columns.of(members), fractions)
    return [None if side == _NONE else SIDES[side] for side in found.tolist()]


def split_columns(columns: Columns, fractions: Fractions) -> npt.NDArray[np.int8]:
    """The side of each image, int8 [N], indices into `SIDES`; -1 for one that is left out.

    Left out is an image on which, or on whose group, the source contradicts itself: where copies are prescribed to
    several sides, those on the most locked side (test, select, val, train) stay.

    The sides that a source prescribes get nothing more; those that it leaves open are cut from its train side.
    Afterwards, among the sides that are open, a class of three units or more has one on train, val and test, and one of
    ten or more also on select; a smaller class has one on train first, then on val. (Units that hold several classes
    are moved only where that takes none of their classes from a side.)

    Args:
        columns: In any order: the result does not depend on it.
        fractions: The shares, already `Fractions.given` the number of images.
    """
    if not len(columns.ids):
        return np.empty(0, dtype=np.int8)
    prescribed = {SIDES[side] for side in np.unique(columns.sides).tolist() if side != _NONE} - {"train"}
    units = _Units(columns, _parts(columns), fractions, [s for s in fractions.intervals() if s not in prescribed])
    units.repair()
    own = units.sides[units.of]
    kept = units.free[units.of] | (columns.sides == _NONE) | (columns.sides == own)
    return np.where(kept, own, _NONE).astype(np.int8)


def _parts(columns: Columns) -> npt.NDArray[np.int64]:
    """The unit of each image, int64 [N]: those share one that share an image or a group, also through others."""
    _, of_id = np.unique(columns.ids, return_inverse=True)
    grouped = columns.groups != _NONE
    if not grouped.any():
        return of_id
    images, groups = int(of_id.max()) + 1, len(columns.group_hashes)
    parent = list(range(images + groups))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    ties = np.unique(of_id[grouped] * groups + columns.groups[grouped])
    for image, group in zip((ties // groups).tolist(), (ties % groups).tolist(), strict=True):
        parent[root(image)] = root(images + group)
    roots = np.fromiter(map(root, range(images)), dtype=np.int64, count=images)
    return np.unique(roots, return_inverse=True)[1][of_id]


class _Units:
    """Images that stay together, by their numbers.

    Args:
        columns: The images.
        of: The unit of each image, int64 [N].
        fractions: The shares.
        open_sides: The sides that the source leaves open.

    Attributes:
        names: uint64 [U], the hash that says the side: of the image, or the least of the groups.
        free: bool [U], whether the source prescribes nothing but train.
        sides: int64 [U], indices into `SIDES`.
    """

    def __init__(
        self, columns: Columns, of: npt.NDArray[np.int64], fractions: Fractions, open_sides: Sequence[Side]
    ) -> None:
        self.of, self._fractions, self._open = of, fractions, open_sides
        count = int(of.max()) + 1
        grouped = columns.groups != _NONE
        self.names = np.full(count, np.iinfo(np.uint64).max, dtype=np.uint64)
        np.minimum.at(self.names, of[grouped], columns.group_hashes[columns.groups[grouped]])
        alone = ~np.isin(of, of[grouped])
        self.names[of[alone]] = columns.ids[alone]
        lock = np.array([_LOCKED_FIRST.index(side) for side in SIDES])
        wanted = np.full(count, len(SIDES), dtype=np.int64)
        said = (columns.sides != _NONE) & (columns.sides != SIDES.index("train"))
        np.minimum.at(wanted, of[said], lock[columns.sides[said]])
        self.free = wanted == len(SIDES)
        locked = np.array([SIDES.index(side) for side in (*_LOCKED_FIRST, "train")])
        self.sides = np.where(self.free, self._plain(), locked[wanted])
        self._classes = int(columns.labels.max()) + 1
        # A locked unit has the labels of those of its images that stay.
        stay = self.free[of] | (columns.sides == _NONE) | (columns.sides == self.sides[of])
        pairs = np.unique(of[stay] * self._classes + columns.labels[stay])
        self._unit_of, self._label_of = pairs // self._classes, pairs % self._classes

    def _plain(self) -> npt.NDArray[np.int64]:
        """Where each unit's position says that it is, among the open sides."""
        sides = np.full(len(self.names), SIDES.index("train"), dtype=np.int64)
        for side, (low, high) in self._fractions.intervals().items():
            if side in self._open:
                sides[(low <= self._positions) & (self._positions < high)] = SIDES.index(side)
        return sides

    @cached_property
    def _positions(self) -> npt.NDArray[np.float64]:
        return (self.names >> np.uint64(11)) / 2**53

    def repair(self) -> None:
        """Moves single units so that small classes, too, are on every side."""
        flat = np.bincount(
            self._label_of * len(SIDES) + self.sides[self._unit_of], minlength=self._classes * len(SIDES)
        )
        self._counts = flat.reshape(self._classes, len(SIDES))
        sizes = self._counts.sum(axis=1)
        by_label = self._unit_of[np.argsort(self._label_of, kind="stable")]
        ends = np.cumsum(sizes)
        for label in np.argsort(sizes, kind="stable").tolist():
            for side in self._open:
                enough = sizes[label] >= (_UNITS_FOR_SELECT if side == "select" else 1)
                if enough and not self._counts[label, SIDES.index(side)]:
                    units = by_label[ends[label] - sizes[label] : ends[label]]
                    free = units[self.free[units]].tolist()
                    self._move(side, [u for u in free if self._spare(u)] or (free if side == "train" else []))
        for side, other in _EACH_OTHERS:
            if side in self._open and not (self.sides == SIDES.index(side)).any():
                # Every class is so small that it has a single unit beside train's, and all of these are on one side.
                there = np.flatnonzero(self.free & (self.sides == SIDES.index(other))).tolist()
                self._move(side, there if len(there) > 1 else [])

    def _labels(self, unit: int) -> npt.NDArray[np.int64]:
        return self._label_of[np.searchsorted(self._unit_of, unit) : np.searchsorted(self._unit_of, unit + 1)]

    def _spare(self, unit: int) -> bool:
        """Whether a unit can leave its side without taking one of its classes from there."""
        side = int(self.sides[unit])
        return SIDES[side] == "select" or bool((self._counts[self._labels(unit), side] > 1).all())

    def _move(self, side: Side, candidates: Sequence[int]) -> None:
        """Moves the unit whose position is nearest to the side's, from train or else from where most of them are."""
        if not candidates:
            return
        at = Counter(SIDES[self.sides[unit]] for unit in candidates)
        donor = SIDES.index("train" if at["train"] else max(at, key=lambda side: (at[side], side)))
        low, high = self._fractions.intervals()[side]

        def far(unit: int) -> tuple[float, int]:
            position = float(self._positions[unit])
            return max(low - position, position - high), int(self.names[unit])

        nearest = min((unit for unit in candidates if self.sides[unit] == donor), key=far)
        self._counts[self._labels(nearest), donor] -= 1
        self._counts[self._labels(nearest), SIDES.index(side)] += 1
        self.sides[nearest] = SIDES.index(side)
