"""Images that look alike although their pixels differ, where that matters: across classes, and across sides."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from autotune.data import DataSource, Side
from autotune.errors import DataError
from autotune.indexing.near_duplicates import ALIKE, NEAR, likeness, near_pairs, small_picture
from autotune.indexing.resembling import look_alikes
from autotune.indexing.table import Table
from autotune.inspecting.records import Case, Finding

PAIRS = 100
"""Pairs that are told; all images in one are counted."""
_MOST_PAIRS = 5_000
_MOST_COMPARED = 20_000_000
_AT_ONCE = 500
_EVEN = np.zeros((1, 1, 3), dtype=np.uint8)

Rows = npt.NDArray[np.int64]


def across_classes(table: Table, rows: Rows, source: DataSource) -> Iterator[Finding]:
    """Near-duplicates with different labels: one of them is probably wrong.

    Those whose hashes are alike are read again, and compared as small pictures.

    Args:
        table: The images, with perceptual hashes.
        rows: The numbers of those that can be used; copies with different labels are not among them.
        source: Reads them.
    """
    _, first = np.unique(table.ids[rows], return_index=True)
    rows = rows[first]
    one, other, complete = _candidates(table, rows)
    like = _likeness(table, source, one, other)
    order = np.argsort(-like, kind="stable")
    order = order[like[order] >= ALIKE]
    if not len(order):
        return
    count = len(np.unique(np.concatenate([one[order], other[order]])))
    cases = tuple(
        Case(
            images=(table.keys[some], table.keys[another]),
            note=f"{table.label(some)!r} or {table.label(another)!r}",
        )
        for some, another in zip(one[order[:PAIRS]].tolist(), other[order[:PAIRS]].tolist(), strict=True)
    )
    yield Finding(
        kind="near_conflicts",
        summary=f"{'' if complete else 'at least '}{count:,} images look like one of another class",
        count=count,
        cases=cases,
        hint="look whether both labels are right",
    )


def across_sides(table: Table, parts: Mapping[Side, Rows], source: DataSource) -> Iterator[Finding]:
    """Near-duplicates on different sides: what is measured on them was half learned by heart.

    Args:
        table: The images, with perceptual hashes.
        parts: The numbers of the images of each side.
        source: Reads those that are in question.
    """
    found = look_alikes(table, parts, source, most=PAIRS)
    if not found.pairs:
        return
    yield Finding(
        kind="near_sides",
        summary=f"{'' if found.complete else 'at least '}{found.images:,} "
        f"{'image' if found.images == 1 else 'images'} of val, select or test that "
        f"{'looks' if found.images == 1 else 'look'} like one on another side",
        count=found.images,
        cases=tuple(
            Case(images=(first, second), note=f"{side} and {another}")
            for (side, first), (another, second) in found.pairs
        ),
        hint="give images of one subject one group, so that they stay together: a table of files has a column for it",
    )


def _candidates(table: Table, rows: Rows) -> tuple[Rows, Rows, bool]:
    """Pairs of different labels whose hashes differ in few bits, and whether these are all."""
    hashes, labels = table.near[rows], table.labels[rows]
    kept = [np.empty((0, 3), dtype=np.int64)]
    compared = count = 0
    for one, other, differ in near_pairs(hashes, distance=NEAR):
        against = labels[one] != labels[other]
        kept.append(np.stack([differ[against], one[against], other[against]], axis=1))
        compared, count = compared + len(one), count + len(kept[-1])
        if count > 2 * _MOST_PAIRS or compared > _MOST_COMPARED:
            break
    pairs = np.concatenate(kept)
    nearest = pairs[np.argsort(pairs[:, 0], kind="stable")][:_MOST_PAIRS]
    return rows[nearest[:, 1]], rows[nearest[:, 2]], compared <= _MOST_COMPARED and count <= _MOST_PAIRS


def _likeness(table: Table, source: DataSource, one: Rows, other: Rows) -> npt.NDArray[np.float32]:
    """How alike the images of each pair are, float32 [N]; those that cannot be read any more are not alike."""
    wanted, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    pictures = np.zeros((len(wanted), *small_picture(_EVEN).shape), dtype=np.uint8)
    for place, number in enumerate(wanted.tolist()):
        # What has vanished since it was looked at stays even, and an even picture is like none.
        with contextlib.suppress(DataError):
            pictures[place] = small_picture(source.read(table.keys[number]))
    like = np.zeros(len(one), dtype=np.float32)
    for begin in range(0, len(one), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        like[part] = likeness(pictures[places[: len(one)][part]], pictures[places[len(one) :][part]])
    return like
