"""Images that look alike although their pixels differ, where that matters: across classes, and across sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from autotune.data import Side
from autotune.index_table import Table
from autotune.inspecting.records import Case, Finding
from autotune.near_duplicates import NEAR, near_pairs, straddling

PAIRS = 100
"""Pairs that are told; all images in one are counted."""
_MOST_COMPARED = 20_000_000
"""Pairs after which images are called too much alike to tell them apart by 64 bits."""

Rows = npt.NDArray[np.int64]


def across_classes(table: Table, rows: Rows) -> Iterator[Finding]:
    """Near-duplicates with different labels: one of them is probably wrong.

    Args:
        table: The images, with perceptual hashes.
        rows: The numbers of those that can be used; copies with different labels are not among them.
    """
    rows = rows[table.near[rows] != 0]
    # One image for each hash and class: of a thousand equal ones there are half a million pairs.
    order = np.lexsort((table.labels[rows], table.near[rows]))
    rows = rows[order]
    hashes, labels = table.near[rows], table.labels[rows]
    begins = np.flatnonzero(np.r_[True, (hashes[1:] != hashes[:-1]) | (labels[1:] != labels[:-1])])
    if len(rows) == 0:
        return
    lengths = np.diff(np.r_[begins, len(rows)])
    first, label = rows[begins], labels[begins]
    touched = np.zeros(len(begins), dtype=np.bool_)
    kept: list[tuple[int, int, int]] = []
    compared = 0
    for one, other, differ in near_pairs(hashes[begins], distance=NEAR):
        compared += len(one)
        against = np.flatnonzero(label[one] != label[other])
        touched[one[against]] = touched[other[against]] = True
        nearest = against[np.argsort(differ[against], kind="stable")][:PAIRS]
        columns = (side[nearest].tolist() for side in (differ, one, other))
        kept = sorted([*kept, *zip(*columns, strict=True)])[:PAIRS]
        if compared > _MOST_COMPARED:
            break
    if not kept:
        return
    count = int(lengths[touched].sum())
    more = "" if compared <= _MOST_COMPARED else "at least "
    cases = tuple(
        Case(
            images=(table.keys[first[one]], table.keys[first[other]]),
            note=f"{table.classes[label[one]]!r} or {table.classes[label[other]]!r}, {differ} of 64 bits differ",
        )
        for differ, one, other in kept
    )
    yield Finding(
        kind="near_conflicts",
        summary=f"{more}{count:,} images look like one of another class",
        count=count,
        cases=cases,
        hint="look whether both labels are right; in small or plain images the likeness may mean nothing",
    )


def across_sides(table: Table, parts: Mapping[Side, Rows]) -> Iterator[Finding]:
    """Near-duplicates on different sides: what is measured on them was half learned by heart.

    Args:
        table: The images, with perceptual hashes.
        parts: The numbers of the images of each side.
    """
    rows = np.concatenate(list(parts.values()))
    sides: list[Side] = [side for side, some in parts.items() for _ in range(len(some))]
    found = straddling(table.near[rows], sides, most=PAIRS)
    if not found.pairs:
        return
    cases = tuple(
        Case(
            images=(table.keys[rows[one]], table.keys[rows[other]]),
            note=f"{sides[one]} and {sides[other]}",
        )
        for one, other in found.pairs
    )
    yield Finding(
        kind="near_sides",
        summary=f"{found.images:,} images of val, select or test look like one on another side",
        count=found.images,
        cases=cases,
        hint="give images of one subject one group, so that they stay together; see the data's group column",
    )
