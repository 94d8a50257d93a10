"""From a place of images to three sets of classes that share none: to learn from, to choose by, to measure on."""

from __future__ import annotations

import hashlib
import os
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from autotune import DataError, DataSource, Split
from autotune.indexing.dataset import pixel_hash
from autotune.plugins import Plugins

Side: TypeAlias = Literal["train", "val", "test"]
SIDES: tuple[Side, ...] = get_args(Side)
TEST, VAL = 0.25, 0.15
"""Shares of the classes, on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """Some classes with all their images.

    Attributes:
        names: Of the classes.
        split: Their images; a label is a place in `names`.
    """

    names: tuple[str, ...]
    split: Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The three sets of classes.

    Attributes:
        location: Where they come from.
        train: Tasks for meta-training are drawn from these.
        val: Tasks by which steps and settings are chosen.
        test: Tasks on which is measured what came out.
        fewest: Images that each class has at least.
        short: Median of the images' shorter sides, in pixels.
        left_out: Classes with fewer images.
    """

    location: str
    train: Classes
    val: Classes
    test: Classes
    fewest: int
    short: int
    left_out: int

    def of(self, side: Side) -> Classes:
        """One of the three."""
        return {"train": self.train, "val": self.val, "test": self.test}[side]

    def require(self, ways: int, *sides: Side) -> None:
        """Checks that tasks can be drawn.

        Raises:
            DataError: A side has fewer classes than a task.
        """
        for side in sides:
            count = len(self.of(side).names)
            if count < ways:
                raise DataError(
                    f"{self.location}: of its classes with {self.fewest} different images or more, {count} are for "
                    f"{side}, and {ways}-way tasks need {ways} ({self.left_out} classes have fewer images)",
                    hint="give more classes or more images of each, or take fewer --ways, --shots or --queries",
                )


def side_of(name: str) -> Side:
    """The side of a class: a matter of its name alone, so that it is the same in every set of images."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, person=b"metalearn").digest()
    share = int.from_bytes(digest) / 2**64
    return "test" if share < TEST else "val" if share < TEST + VAL else "train"


def read_sides(location: str, plugins: Plugins, *, fewest: int) -> Sides:
    """Decodes every image once, and puts the classes on their sides.

    Left out are images on a test side of their own, copies, copies that bear different labels, and classes with too
    few images.

    Args:
        location: A folder of class folders, or whatever a data source accepts.
        plugins: Where data sources come from.
        fewest: Different images that a class must have.

    Raises:
        DataError: There are no images, or one cannot be decoded.
    """
    source = plugins.open_source(location)
    items = [item for item in source.items() if item.side != "test"]
    looks = _looks(source, [item.key for item in items])
    labels: dict[str, set[str]] = defaultdict(set)
    for item, look in zip(items, looks, strict=True):
        labels[look.id].add(item.label)
    members: dict[str, dict[str, str]] = defaultdict(dict)
    for item, look in zip(items, looks, strict=True):
        if len(labels[look.id]) == 1:
            members[item.label].setdefault(look.id, item.key)
    kept = {label: members[label] for label in sorted(members) if len(members[label]) >= fewest}
    parts = {side: {n: m for n, m in kept.items() if side_of(n) == side} for side in SIDES}
    return Sides(
        location=location,
        train=_classes(parts["train"], source),
        val=_classes(parts["val"], source),
        test=_classes(parts["test"], source),
        fewest=fewest,
        short=statistics.median_low([look.short for look in looks] or [0]),
        left_out=len({item.label for item in items}) - len(kept),
    )


class _Look(NamedTuple):
    id: str
    short: int


def _looks(source: DataSource, keys: Sequence[str]) -> list[_Look]:
    def one(key: str) -> _Look:
        image = source.read(key)
        return _Look(pixel_hash(image), min(image.shape[:2]))

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="look") as pool:
        return list(pool.map(one, keys))


def _classes(members: Mapping[str, Mapping[str, str]], source: DataSource) -> Classes:
    names = tuple(members)
    rows = [(label, *pair) for label, name in enumerate(names) for pair in sorted(members[name].items())]
    split = Split(
        ids=tuple(row[1] for row in rows),
        labels=np.array([row[0] for row in rows], dtype=np.int64),
        keys=tuple(row[2] for row in rows),
        reader=source.read,
    )
    return Classes(names=names, split=split)
