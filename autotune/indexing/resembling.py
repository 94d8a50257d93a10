"""Near-duplicates that lie on different sides: what is measured on them was half learned by heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from autotune.data import DataSource, LookAlikes, Side
from autotune.errors import DataError
from autotune.indexing.near_duplicates import SHOWN, small_picture, straddling
from autotune.indexing.table import Table


def look_alikes(
    table: Table, parts: Mapping[Side, npt.NDArray[np.int64]], source: DataSource, *, most: int = SHOWN
) -> LookAlikes:
    """The near-duplicates across the sides of one place's images; those in question are read again.

    Args:
        table: The images, with perceptual hashes.
        parts: The numbers of the images of each side.
        source: Reads them.
        most: How many pairs are told.
    """
    rows = np.concatenate(list(parts.values()))
    sides: list[Side] = [side for side, some in parts.items() for _ in range(len(some))]

    def picture(place: int) -> npt.NDArray[np.uint8] | None:
        try:
            return small_picture(source.read(table.keys[rows[place]]))
        except DataError:  # vanished since it was looked at: whoever trains on it is told
            return None

    found = straddling(table.near[rows], sides, picture=picture, most=most)
    named = [tuple((sides[place], table.keys[rows[place]]) for place in pair) for pair in found.pairs]
    return LookAlikes(
        images=found.images,
        complete=found.complete,
        pairs=tuple((one, other) for one, other in named),
        reader=source.read,
    )


def described_alikes(alikes: Sequence[LookAlikes], tasks: Sequence[str], where: str) -> list[str]:
    """What people are told of them, a line for each task that has any.

    Args:
        alikes: Of each task.
        tasks: The tasks' names; with several, each line says of which it is.
        where: Where the pairs are drawn.
    """
    lines = []
    for task, found in zip(tasks, alikes, strict=True):
        if not found.pairs:
            continue
        (one, first), (other, second) = found.pairs[0]
        count = f"{found.images:,} image{'s look' if found.images != 1 else ' looks'}"
        lines.append(
            (f"{task}: " if len(tasks) > 1 else "")
            + f"near-duplicates: {'' if found.complete else 'at least '}{count} like one on another side, e.g. {first} "
            f"({one}) and {second} ({other}); drawn in {where}"
        )
    return lines
