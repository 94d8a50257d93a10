"""What is the matter with images that were skimmed or looked at: broken, copied, of odd sizes, too few."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from autotune.indexing.splitting import SIDES
from autotune.indexing.table import Table
from autotune.inspecting.records import KEPT, Case, Finding

TINY = 32
"""Pixels of the shorter side below which an image is tiny, where most are larger."""
HUGE = 25_000_000
"""Pixels above which an image is huge where most are smaller; twice as many are huge anywhere."""
LONG = 3.0
"""Longer over shorter side above which a shape is odd, where most are not so."""
FEW = 10
"""Images below which a class has few."""

Rows = npt.NDArray[np.int64]


def broken(table: Table) -> Iterator[Finding]:
    """Images that cannot be used, each with the reason."""
    found = table.broken()
    if found:
        cases = (Case(images=(key,), note=reason.partition(f"{key}: ")[2] or reason) for key, reason in found[:KEPT])
        yield Finding(
            kind="broken",
            summary=f"{_count(len(found), 'broken image')} of {len(table):,}",
            count=len(found),
            cases=tuple(cases),
            hint="they are left out; repair or remove them",
        )


def conflicts(sets: Sequence[tuple[str, ...]], table: Table) -> Iterator[Finding]:
    """Copies of one image that bear different labels.

    Args:
        sets: Their keys.
        table: Says their labels.
    """
    if sets:
        wanted = {key for some in sets[:KEPT] for key in some}
        labels = {key: table.label(i) for i, key in enumerate(table.keys) if key in wanted}
        cases = (
            Case(images=some, note=" or ".join(sorted({repr(labels[key]) for key in some}))) for some in sets[:KEPT]
        )
        yield Finding(
            kind="conflicts",
            summary=f"{_count(len(sets), 'image')} with copies of different labels",
            count=sum(map(len, sets)),
            cases=tuple(cases),
            hint="all copies are left out; remove those with the wrong label",
        )


def copies(table: Table, rows: Rows) -> Iterator[Finding]:
    """Copies of one image that bear the same label.

    Args:
        table: The images.
        rows: The numbers of those that can be used.
    """
    sets = list(table.copies(rows))
    if sets:
        cases = (Case(images=tuple(table.keys[i] for i in some)) for some in sets[:KEPT])
        yield Finding(
            kind="copies",
            summary=f"{_count(len(sets), 'image')} with copies, {sum(map(len, sets)) - len(sets):,} too many",
            count=sum(map(len, sets)),
            cases=tuple(cases),
            hint="all copies of an image are on one side; they count several times in training",
        )


def sizes(table: Table, rows: Rows) -> Iterator[Finding]:
    """Images that are tiny, huge or of an odd shape beside the others.

    Args:
        table: The images; a side of 0 pixels is not known.
        rows: The numbers of those that can be used.
    """
    rows = rows[(table.heights[rows] > 0) & (table.widths[rows] > 0)]
    if not len(rows):
        return
    height, width = table.heights[rows].astype(np.float64), table.widths[rows].astype(np.float64)
    shorter, longer = np.minimum(height, width), np.maximum(height, width)
    area, shape = height * width, longer / shorter
    tiny = shorter < min(TINY, np.median(shorter) / 2)
    yield from _sized(table, rows, tiny, shorter, "tiny", "tiny image", "they tell a network little")
    huge = (area > HUGE) & ((area > 4 * np.median(area)) | (area > 2 * HUGE))
    yield from _sized(table, rows, huge, -area, "huge", "huge image", "decoding them is slow; shrink them")
    odd = (shape > LONG) & (shape > 2 * np.median(shape))
    hint = "most of such an image is cut away or squeezed; crop it yourself"
    yield from _sized(table, rows, odd, -shape, "shape", "oddly shaped image", hint)


def few(table: Table, rows: Rows) -> Iterator[Finding]:
    """Classes with few different images; where the source says what val and test are, in train."""
    locked = np.isin(table.sides[rows], [SIDES.index("val"), SIDES.index("test")])
    rows, where = rows[~locked], " in train" if locked.any() else ""
    _, first = np.unique(table.ids[rows], return_index=True)
    counts = np.bincount(table.labels[rows[first]], minlength=len(table.classes)).tolist()
    small = sorted((count, label) for label, count in zip(table.classes, counts, strict=True) if count < FEW)
    if small:
        cases = (Case(images=(), note=f"{label}: {_count(count, 'different image')}") for count, label in small[:KEPT])
        yield Finding(
            kind="few",
            summary=f"{len(small)} of {len(table.classes)} classes have fewer than {FEW} different images{where}",
            count=len(small),
            cases=tuple(cases),
            hint="their scores hang on single images; add some",
        )


def _sized(
    table: Table, rows: Rows, found: npt.NDArray[np.bool_], order: npt.NDArray[np.float64], *words: str
) -> Iterable[Finding]:
    kind, what, hint = words
    if not found.any():
        return
    places = np.flatnonzero(found)
    worst = places[np.argsort(order[places], kind="stable")][:KEPT]
    cases = (
        Case(images=(table.keys[row],), note=f"{table.widths[row]}x{table.heights[row]} px")
        for row in rows[worst].tolist()
    )
    yield Finding(kind=kind, summary=_count(len(places), what), count=len(places), cases=tuple(cases), hint=hint)


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
