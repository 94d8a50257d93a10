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
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from autotune.data import Side
from autotune.errors import UsageError

SELECT_FROM = 1000
"""Images from which a select side is cut; below, its share goes to val, so that train and test stay as they are."""

SIDES: tuple[Side, ...] = ("train", "val", "test", "select")
"""In the order in which a small class is given images."""

_LOCKED_FIRST: tuple[Side, ...] = ("test", "select", "val", "train")
_EACH_OTHERS: tuple[tuple[Side, Side], ...] = (("test", "val"), ("val", "test"))
_UNITS_FOR_SELECT = 10


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


@dataclass(slots=True)
class _Unit:
    """Images that stay together."""

    members: list[int]
    position: float
    name: str
    side: Side
    free: bool
    labels: list[str] = field(default_factory=list)


def position(id: str) -> float:
    """Reads a hash of 16 hexadecimal digits as a number in [0, 1)."""
    return (int(id, 16) >> 11) / 2**53  # 53 bits, so that rounding never gives 1.0


def split(members: Sequence[Member], fractions: Fractions) -> list[Side | None]:
    """The side of each member, in order; None for one that is left out.

    Left out is a member on whose image or group the source contradicts itself: where copies are prescribed to
    several sides, those on the most locked side (test, select, val, train) stay.

    The sides that a source prescribes get nothing more; those that it leaves open are cut from its train side.
    Afterwards, among the sides that are open, a class of three units or more has one on train, val and test, and one of
    ten or more also on select; a smaller class has one on train first, then on val. (Units that hold several classes
    are moved only where that takes none of their classes from a side.)

    Args:
        members: In any order: the result does not depend on it.
        fractions: The shares, already `Fractions.given` the number of images.
    """
    prescribed = {member.side for member in members if member.side is not None} - {"train"}
    open_sides = [side for side in fractions.intervals() if side not in prescribed]
    units = [_unit(members, part, fractions, open_sides) for part in _connected(members)]
    _repair(units, open_sides, fractions)
    sides: list[Side | None] = [None] * len(members)
    for unit in units:
        for i in unit.members:
            if members[i].side in (None, unit.side) or unit.free:
                sides[i] = unit.side
    return sides


def _connected(members: Sequence[Member]) -> Iterable[list[int]]:
    """Parts that share an image or a group, directly or through others."""
    parent = list(range(len(members)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, member in enumerate(members):
        ties = [("id", member.id)] + ([("group", member.group)] if member.group is not None else [])
        for tie in ties:
            parent[root(i)] = root(first.setdefault(tie, i))
    parts: dict[int, list[int]] = defaultdict(list)
    for i in range(len(members)):
        parts[root(i)].append(i)
    return parts.values()


def _unit(members: Sequence[Member], part: list[int], fractions: Fractions, open_sides: Sequence[Side]) -> _Unit:
    groups = {group for i in part if (group := members[i].group) is not None}
    name = min(map(_digest, groups)) if groups else members[part[0]].id
    labels = sorted({members[i].label for i in part})
    wanted = {members[i].side for i in part} - {None, "train"}
    if wanted:
        side = next(side for side in _LOCKED_FIRST if side in wanted)
        labels = sorted({members[i].label for i in part if members[i].side in (None, side)})
        return _Unit(part, position(name), name, side, free=False, labels=labels)
    plain = fractions.side(position(name))
    return _Unit(part, position(name), name, plain if plain in open_sides else "train", free=True, labels=labels)


def _digest(group: str) -> str:
    return hashlib.blake2b(group.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _repair(units: Sequence[_Unit], open_sides: Sequence[Side], fractions: Fractions) -> None:
    """Moves single units so that small classes, too, are on every side; in place."""
    of_class: dict[str, list[_Unit]] = defaultdict(list)
    for unit in units:
        for label in unit.labels:
            of_class[label].append(unit)
    counts = {label: Counter(unit.side for unit in of_class[label]) for label in of_class}

    def spare(unit: _Unit) -> bool:
        return all(counts[label][unit.side] > 1 or unit.side == "select" for label in unit.labels)

    def move(side: Side, candidates: Sequence[_Unit]) -> None:
        if not candidates:
            return
        at = Counter(unit.side for unit in candidates)
        donor = "train" if at["train"] else max(at, key=lambda side: (at[side], side))
        low, high = fractions.intervals()[side]
        nearest = min(
            (unit for unit in candidates if unit.side == donor),
            key=lambda unit: (max(low - unit.position, unit.position - high), unit.name),
        )
        for label in nearest.labels:
            counts[label][nearest.side] -= 1
            counts[label][side] += 1
        nearest.side = side

    for label in sorted(of_class, key=lambda label: (len(of_class[label]), label)):
        free = [unit for unit in of_class[label] if unit.free]
        for side in open_sides:
            enough = side != "select" or len(of_class[label]) >= _UNITS_FOR_SELECT
            if enough and not counts[label][side]:
                spared = [unit for unit in free if spare(unit)]
                move(side, spared or (free if side == "train" else []))
    for side, other in _EACH_OTHERS:
        if side in open_sides and not any(unit.side == side for unit in units):
            # Every class is so small that it has a single unit beside train's, and all of these are on one side.
            spared = [unit for unit in units if unit.free and unit.side == other]
            move(side, spared if len(spared) > 1 else [])
