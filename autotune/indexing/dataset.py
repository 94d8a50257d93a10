"""Turns a data source into a dataset: every image looked at, judged, and put on its side."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autotune.data import Data, Dataset, DataSource, Holdout, Image, Side, Split, Task
from autotune.errors import DataError
from autotune.indexing.cache import place_digest
from autotune.indexing.looking import Seen, look, pixel_hash
from autotune.indexing.profile import describe, listed, profile
from autotune.indexing.resembling import look_alikes
from autotune.indexing.splitting import SIDES, Fractions, split_columns
from autotune.indexing.table import Table, equal_runs

__all__ = [
    "Fractions",
    "Placed",
    "assemble",
    "check_broken",
    "check_classes",
    "describe",
    "index",
    "name_of",
    "place",
    "pixel_hash",
    "task_fingerprint",
    "without_conflicts",
]

_OPTIONS = re.compile(r":(?=[a-z_]+=)")
_ENDING = re.compile(r"(\.tar)?\.[A-Za-z0-9]+$")
_MOST_BROKEN = 0.01
_NOWHERE = -1


def index(
    source: DataSource,
    *,
    location: str,
    fractions: Fractions,
    cache: Path,
    name: str | None = None,
    near: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Looks at every image of a source and puts it on its side.

    Args:
        source: Lists and decodes the images.
        location: Where they are, as the person wrote it.
        fractions: The shares of test, val and select; below 1,000 images, select's goes to val.
        cache: Folder that keeps what was learned of each image, and which were near-duplicates.
        name: The task's name; by default the last part of the location.
        near: Whether near-duplicates across the sides are looked for.
        progress: Told how many images are done, and how many there are.

    Returns:
        What trainers see, and what they do not. ``facts`` says how many images were ``decoded`` and how many
        ``reused`` from the cache.

    Raises:
        DataError: There are no images, or only one class; a class has fewer than two images, or none to train on;
            more than one image in a hundred cannot be decoded.
        PluginError: The source breaks its contract.
    """
    seen = look(source, location=location, cache=cache, near=near, progress=progress)
    placed = place(seen.table, location, fractions)
    dataset = assemble(seen, placed, name=name)
    if not near:
        return dataset
    kept = cache / "index" / f"{place_digest(location)}.alikes"
    return replace(dataset, alikes=(look_alikes(seen.table, placed.parts, source, kept=kept),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where the images of one place are, by their numbers in its table.

    Attributes:
        parts: The numbers of the images on each side, int64.
        conflicts: Keys of copies that bear different labels, left out.
        dropped: Images left out because a copy or a group member is on a more locked side.
    """

    parts: Mapping[Side, npt.NDArray[np.int64]]
    conflicts: tuple[tuple[str, ...], ...]
    dropped: int


def place(table: Table, location: str, fractions: Fractions) -> Placed:
    """Puts images that were looked at on their sides.

    Args:
        table: What was seen of each.
        location: Where they are, for messages.
        fractions: The shares; below 1,000 images, select's goes to val.

    Raises:
        DataError: The images cannot be used; see `index`.
    """
    broken = table.broken()
    check_broken(broken, len(table), location)
    rows, conflicts = without_conflicts(table)
    check_classes(table, rows, len(broken) + sum(map(len, conflicts)), location)
    numbers = split_columns(table.columns(rows), fractions.given(len(rows)))
    parts: dict[Side, npt.NDArray[np.int64]] = {side: rows[numbers == i] for i, side in enumerate(SIDES)}
    _check_sides(table, parts, fractions, location)
    return Placed(parts=parts, conflicts=conflicts, dropped=int((numbers == _NOWHERE).sum()))


def assemble(seen: Seen, placed: Placed, *, name: str | None = None) -> Dataset:
    """The dataset of images that are on their sides.

    Args:
        seen: The images.
        placed: Where they are.
        name: The task's name; by default the last part of the location.
    """
    table, parts = seen.table, placed.parts
    splits = {side: _split(table, parts[side], seen.source.read) for side in SIDES}
    task = Task(
        name=name or name_of(seen.location),
        classes=table.classes,
        train=splits["train"],
        val=splits["val"],
        profile=profile(table, parts, conflicts=placed.conflicts, broken=table.broken(), dropped=placed.dropped),
    )
    return Dataset(
        data=Data(tasks=(task,), fingerprint=task_fingerprint(task)),
        holdout=Holdout(
            select=splits["select"] if len(parts["select"]) else None,
            test=splits["test"],
            test_fingerprint=_digest(sorted(set(splits["test"].ids))),
        ),
        location=seen.location,
        facts={"decoded": seen.decoded, "reused": len(table) - seen.decoded},
    )


def check_broken(broken: Sequence[tuple[str, str]], images: int, location: str) -> None:
    """Up to one image in a hundred may be broken.

    Args:
        broken: Key and reason of each.
        images: How many there are in all.
        location: Where they are, for the message.

    Raises:
        DataError: There are more; the first are listed.
    """
    if len(broken) > _MOST_BROKEN * images:
        raise DataError(
            f"{location}: {len(broken)} of {images} images cannot be read\n"
            + listed(reason if key in reason else f"{key}: {reason}" for key, reason in broken),
            hint="repair or remove them: up to 1 % of the images may be broken",
        )


def without_conflicts(table: Table) -> tuple[npt.NDArray[np.int64], tuple[tuple[str, ...], ...]]:
    """Leaves out the copies of one image that bear different labels: nobody knows which is right.

    Returns:
        The numbers of the images that can be used, int64, in order, and the keys of the copies.
    """
    rows = table.sound()
    against = [same for same in table.copies(rows) if len(set(table.labels[same].tolist())) > 1]
    conflicts = tuple(sorted(tuple(sorted(table.keys[i] for i in same)) for same in against))
    return np.setdiff1d(rows, np.concatenate(against), assume_unique=True) if against else rows, conflicts


def check_classes(table: Table, rows: npt.NDArray[np.int64], left_out: int, location: str) -> None:
    """There are two classes or more, each with two different images or more.

    Args:
        table: The images.
        rows: The numbers of those that can be used.
        left_out: How many cannot.
        location: Where they are, for the message.

    Raises:
        DataError: One of these is not so; the classes are listed.
    """
    classes = table.classes
    if len(classes) < 2:
        raise DataError(f"{location}: one class only, {classes[0]!r}", hint="classification needs at least two")
    _, first = np.unique(table.ids[rows], return_index=True)
    distinct = np.bincount(table.labels[rows[first]], minlength=len(classes)).tolist()
    small = [f"{label}: {count}" for label, count in zip(classes, distinct, strict=True) if count < 2]
    if small:
        raise DataError(
            f"{location}: {len(small)} of {len(classes)} classes have fewer than two different images"
            + (f" ({left_out} images are broken, or copies with two labels)" if left_out else "")
            + "\n"
            + listed(small),
            hint="add images to these classes, or remove the classes",
        )


def _check_sides(
    table: Table, parts: Mapping[Side, npt.NDArray[np.int64]], fractions: Fractions, location: str
) -> None:
    trained = np.bincount(table.labels[parts["train"]], minlength=len(table.classes)).tolist()
    untrained = [label for label, count in zip(table.classes, trained, strict=True) if not count]
    if untrained:
        raise DataError(
            f"{location}: {len(untrained)} of {len(table.classes)} classes have no image to train on\n"
            + listed(untrained),
            hint="every class needs images outside val and test that are in no group with those",
        )
    empty = [side for side in ("val", "test") if not len(parts[side]) and getattr(fractions, side)]
    if empty:
        raise DataError(
            f"{location}: too few images for a {' and a '.join(empty)} side",
            hint="three different images a class always suffice; members of one group count as one",
        )


def _split(table: Table, rows: npt.NDArray[np.int64], reader: Callable[[str], Image]) -> Split:
    # By hash: an order that mixes the classes and that renaming files does not change.
    rows = rows[np.argsort(table.ids[rows], kind="stable")]
    ids, places = table.ids[rows], np.arange(len(rows), dtype=np.int64)
    for run in equal_runs(ids, places):
        rows[run] = sorted(rows[run].tolist(), key=lambda i: table.keys[i])
    return Split(
        ids=tuple(table.names(rows)),
        labels=table.labels[rows].astype(np.int64),
        keys=tuple(table.keys[i] for i in rows.tolist()),
        reader=reader,
    )


def task_fingerprint(task: Task) -> str:
    """Changes when the classes, or the images or labels of train or val, change."""
    parts = [_lines(task.train), [""], _lines(task.val)]
    return _digest(chain(task.classes, [""], *parts))


def _lines(part: Split) -> Iterator[str]:
    """Hash and label of each image of a side, in the order of the hashes."""
    for i in sorted(range(len(part)), key=part.ids.__getitem__):
        yield f"{part.ids[i]} {part.labels[i]}"


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for number, line in enumerate(lines):
        digest.update((("\n" if number else "") + line).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def name_of(location: str) -> str:
    """What a task is called after its place: the last part, without a file's ending or the options of a place."""
    path = os.path.expanduser(location)
    if os.path.exists(path):
        name = os.path.basename(os.path.abspath(path))
        return (name if os.path.isdir(path) else _ENDING.sub("", name)) or "images"
    return re.split(r"[/\\:]", _OPTIONS.split(location)[0])[-1] or "images"
