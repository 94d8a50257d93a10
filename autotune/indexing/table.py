"""What is known of a place's images, in columns: a million objects would take ten times the memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from autotune.data import DataSource, Side
from autotune.errors import DataError, PluginError
from autotune.indexing.cache import Look
from autotune.indexing.splitting import SIDES, Columns, group_hash

_NONE = -1


class Table:
    """The images that a source lists, by their numbers in its order, and what was seen of each.

    Args:
        source: Lists them.
        location: Where they are, for messages.

    Attributes:
        keys: What the source calls each image.
        classes: All labels, in order, those of broken images too.
        labels: int32 [N], indices into the classes.
        sides: int8 [N], indices into `autotune.indexing.splitting.SIDES`, or -1 where the source prescribes none.
        ids: uint64 [N], hashes of the pixels; 0 until an image has been looked at.
        near: uint64 [N], perceptual hashes; 0 where none was taken.
        heights: uint32 [N], in pixels.
        widths: uint32 [N], in pixels.
        grey: bool [N], whether the three channels are equal.
        reasons: Why an image cannot be used, by its number.

    Raises:
        DataError: There are no images.
        PluginError: The source lists an image twice, or without a label, or on a side that there is not.
    """

    def __init__(self, source: DataSource, location: str) -> None:
        self.keys: list[str] = []
        found: dict[str, int] = {}
        groups: dict[str, int] = {}
        labels, members, sides = array("i"), array("i"), array("b")
        numbers: dict[Side | None, int] = {side: number for number, side in enumerate(SIDES)}
        numbers[None] = _NONE
        for item in source.items():
            if not item.label or item.side not in numbers:
                what = f"lists {item!r}, whose label or side is not valid"
                raise PluginError(f"data source {type(source).__qualname__} at {location} {what}")
            self.keys.append(item.key)
            labels.append(found.setdefault(item.label, len(found)))
            members.append(_NONE if item.group is None else groups.setdefault(item.group, len(groups)))
            sides.append(numbers[item.side])
        if not self.keys:
            raise DataError(f"{location}: no images", hint="give a place with at least two classes of images")
        if (again := _twice(self.keys)) is not None:
            raise PluginError(f"data source {type(source).__qualname__} at {location} lists {again!r} twice")
        self.classes = tuple(sorted(found))
        order = {label: number for number, label in enumerate(self.classes)}
        ordered = np.array([order[label] for label in found], dtype=np.int32)
        self.labels: npt.NDArray[np.int32] = ordered[np.frombuffer(labels, dtype=np.int32)]
        self.sides: npt.NDArray[np.int8] = np.frombuffer(sides, dtype=np.int8)
        self._groups = list(groups)
        self._group_of = np.frombuffer(members, dtype=np.int32)
        count = len(self.keys)
        self.ids: npt.NDArray[np.uint64] = np.zeros(count, dtype=np.uint64)
        self.near: npt.NDArray[np.uint64] = np.zeros(count, dtype=np.uint64)
        self.heights: npt.NDArray[np.uint32] = np.zeros(count, dtype=np.uint32)
        self.widths: npt.NDArray[np.uint32] = np.zeros(count, dtype=np.uint32)
        self.grey: npt.NDArray[np.bool_] = np.zeros(count, dtype=np.bool_)
        self.reasons: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def put(self, number: int, look: Look) -> None:
        """Takes down what was seen of an image."""
        if look.reason is not None:
            self.reasons[number] = look.reason
            return
        self.ids[number] = int(look.id, 16)
        self.near[number] = look.near or 0
        self.heights[number], self.widths[number], self.grey[number] = look.height, look.width, look.grey

    def label(self, number: int) -> str:
        """An image's class."""
        return self.classes[self.labels[number]]

    def group(self, number: int) -> str | None:
        """An image's group, if it has one."""
        group = int(self._group_of[number])
        return None if group == _NONE else self._groups[group]

    def side(self, number: int) -> Side | None:
        """The side that the source prescribes for an image, if it does."""
        side = int(self.sides[number])
        return None if side == _NONE else SIDES[side]

    def broken(self) -> tuple[tuple[str, str], ...]:
        """Key and reason of every image that cannot be used, in order."""
        return tuple((self.keys[number], self.reasons[number]) for number in sorted(self.reasons))

    def sound(self) -> npt.NDArray[np.int64]:
        """The numbers of the images that can be used, int64, in order."""
        usable = np.ones(len(self), dtype=np.bool_)
        usable[list(self.reasons)] = False
        return np.flatnonzero(usable)

    def columns(self, rows: npt.NDArray[np.int64]) -> Columns:
        """What splitting needs to know of some images."""
        return Columns(
            ids=self.ids[rows],
            labels=self.labels[rows],
            groups=self._group_of[rows],
            sides=self.sides[rows],
            group_hashes=np.array([group_hash(group) for group in self._groups], dtype=np.uint64),
        )

    def names(self, rows: npt.NDArray[np.int64]) -> Iterator[str]:
        """The hashes of some images' pixels, 16 hexadecimal digits each."""
        digits = self.ids[rows].astype(">u8").tobytes().hex()
        return (digits[place : place + 16] for place in range(0, len(digits), 16))

    def copies(self, rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Those of some images whose pixels are equal, two or more at a time, by hash."""
        ids = self.ids[rows]
        order = np.argsort(ids, kind="stable")
        yield from equal_runs(ids[order], rows[order])


def equal_runs(values: npt.NDArray[np.uint64], rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of every run of two or more equal values; values and rows lie side by side, values in order."""
    begins = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    lengths = np.diff(np.r_[begins, len(values)])
    for begin, length in zip(begins[lengths > 1].tolist(), lengths[lengths > 1].tolist(), strict=True):
        yield rows[begin : begin + length]


def _twice(keys: list[str]) -> str | None:
    """A key that is listed more than once, if there is one."""
    hashes = np.fromiter(map(hash, keys), dtype=np.int64, count=len(keys))
    order = np.argsort(hashes, kind="stable")
    for run in equal_runs(hashes[order].view(np.uint64), order):
        seen: set[str] = set()
        for number in run.tolist():
            if keys[number] in seen:
                return keys[number]
            seen.add(keys[number])
    return None
