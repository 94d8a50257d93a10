"""Near-duplicates that lie on different sides: what is measured on them was half learned by heart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autotune.checkpoint import write_atomically
from autotune.data import DataSource, LookAlikes, Side
from autotune.errors import DataError
from autotune.indexing.near_duplicates import RULE, SHOWN, Straddling, small_picture, straddling
from autotune.indexing.table import Table

_FORMAT = 1


def look_alikes(
    table: Table,
    parts: Mapping[Side, npt.NDArray[np.int64]],
    source: DataSource,
    *,
    most: int = SHOWN,
    kept: Path | None = None,
) -> LookAlikes:
    """The near-duplicates across the sides of one place's images; those in question are read again.

    Args:
        table: The images, with perceptual hashes.
        parts: The numbers of the images of each side.
        source: Reads them.
        most: How many pairs are told.
        kept: The file of what was found last: on the same images and sides that holds, and none is read. None keeps
            nothing.
    """
    rows = np.concatenate(list(parts.values()))
    sides: list[Side] = [side for side, some in parts.items() for _ in range(len(some))]
    vanished: list[str] = []

    def picture(place: int) -> npt.NDArray[np.uint8] | None:
        key = table.keys[rows[place]]
        try:
            return small_picture(source.read(key))
        except DataError:  # vanished since it was looked at: whoever trains on it is told
            vanished.append(key)
            return None

    asked = b"" if kept is None else _asked(table, rows, sides, most)
    found = None if kept is None else _read(kept, asked)
    if found is None:
        found = straddling(table.near[rows], sides, picture=picture, most=most)
        if kept is not None and not vanished:
            _write(kept, asked, found)
    named = [tuple((sides[place], table.keys[rows[place]]) for place in pair) for pair in found.pairs]
    return LookAlikes(
        images=found.images,
        complete=found.complete,
        pairs=tuple((one, other) for one, other in named),
        reader=source.read,
    )


def _asked(table: Table, rows: npt.NDArray[np.int64], sides: Sequence[Side], most: int) -> bytes:
    """Hash of all that decides what is found: pixels, not keys, for places are kept and today's keys are told."""
    digest = hashlib.blake2b(json.dumps([_FORMAT, RULE, most, sides]).encode(), digest_size=16)
    digest.update(table.near[rows].tobytes())
    digest.update(table.ids[rows].tobytes())
    return digest.digest()


def _vouched(asked: bytes, content: bytes) -> bytes:
    """Says that this content, whole, is what was found when this was asked."""
    return hashlib.blake2b(content, key=asked, digest_size=16).hexdigest().encode("ascii")


def _read(path: Path, asked: bytes) -> Straddling | None:
    """What was found when the same was asked; None if the file is of something else, damaged or not there."""
    try:
        vouched, _, content = path.read_bytes().partition(b"\n")
    except OSError:  # found anew, which costs time only
        return None
    if vouched != _vouched(asked, content):
        return None
    found = json.loads(content)
    return Straddling(
        images=found["images"],
        pairs=tuple((one, other) for one, other in found["pairs"]),
        complete=found["complete"],
    )


def _write(path: Path, asked: bytes, found: Straddling) -> None:
    """Keeps what was found in the place of what was found before, so that a place never has more than one."""
    content = json.dumps(asdict(found)).encode("ascii")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _vouched(asked, content) + b"\n" + content)
    except OSError:
        # A folder that cannot be written costs the comparison again, not the search.
        return


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
