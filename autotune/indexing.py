"""Turns a data source into a dataset: every image hashed, looked at, and put on its side.

Each image is decoded once; what was learned of it is kept on disk, so that the next call decodes only what changed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np

from autotune.data import Data, Dataset, DataSource, Holdout, Image, Item, Side, Split, Task
from autotune.errors import DataError, PluginError
from autotune.index_cache import IndexCache, Look
from autotune.index_profile import describe, listed, profile
from autotune.splitting import SIDES, Fractions, Member, split

__all__ = ["Fractions", "describe", "index", "name_of", "pixel_hash", "task_fingerprint"]

Found: TypeAlias = tuple[Item, Look]

_OPTIONS = re.compile(r":(?=[a-z_]+=)")
_ENDING = re.compile(r"(\.tar)?\.[A-Za-z0-9]+$")
_MOST_BROKEN = 0.01
_AT_ONCE = 16


def index(
    source: DataSource,
    *,
    location: str,
    fractions: Fractions,
    cache: Path,
    name: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Looks at every image of a source and puts it on its side.

    Args:
        source: Lists and decodes the images.
        location: Where they are, as the person wrote it.
        fractions: The shares of test, val and select; below 1,000 images, select's goes to val.
        cache: Folder that keeps what was learned of each image.
        name: The task's name; by default the last part of the location.
        progress: Told how many images are done, and how many there are.

    Returns:
        What trainers see, and what they do not. ``facts`` says how many images were ``decoded`` and how many
        ``reused`` from the cache.

    Raises:
        DataError: There are no images, or only one class; a class has fewer than two images, or none to train on;
            more than one image in a hundred cannot be decoded.
        PluginError: The source breaks its contract.
    """
    items = _listed(source, location)
    known = IndexCache(cache, location)
    try:
        looks = _look(source, items, known, progress)
    finally:
        known.write([item.key for item in items])
    found = [(item, looks[item.key]) for item in items if looks[item.key].reason is None]
    broken = tuple((item.key, reason) for item in items if (reason := looks[item.key].reason) is not None)
    if len(broken) > _MOST_BROKEN * len(items):
        raise DataError(
            f"{location}: {len(broken)} of {len(items)} images cannot be read\n"
            + listed(reason if key in reason else f"{key}: {reason}" for key, reason in broken),
            hint="repair or remove them: up to 1 % of the images may be broken",
        )
    found, conflicts = _without_conflicts(found)
    classes = _classes(items, found, broken, conflicts, location)
    sides = split([_member(one) for one in found], fractions.given(len(found)))
    parts: dict[Side, list[Found]] = {side: [] for side in SIDES}
    for one, side in zip(found, sides, strict=True):
        if side is not None:
            parts[side].append(one)
    _check_sides(parts, classes, fractions, location)
    splits = {side: _split(parts[side], classes, source.read) for side in SIDES}
    found_profile = profile(parts, classes, conflicts=conflicts, broken=broken, dropped=sides.count(None))
    task = Task(
        name=name or name_of(location), classes=classes, train=splits["train"], val=splits["val"], profile=found_profile
    )
    return Dataset(
        data=Data(tasks=(task,), fingerprint=task_fingerprint(task)),
        holdout=Holdout(
            select=splits["select"] if parts["select"] else None,
            test=splits["test"],
            test_fingerprint=_digest(sorted(set(splits["test"].ids))),
        ),
        location=location,
        facts={"decoded": known.decoded, "reused": len(items) - known.decoded},
    )


def pixel_hash(image: Image) -> str:
    """Hash of an image's shape and pixels: 16 hexadecimal digits."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _listed(source: DataSource, location: str) -> list[Item]:
    items = list(source.items())
    if not items:
        raise DataError(f"{location}: no images", hint="give a place with at least two classes of images")
    again = [key for key, count in Counter(item.key for item in items).items() if count > 1]
    wrong = [item for item in items if not item.label or item.side not in (None, *SIDES)]
    if again or wrong:
        what = f"lists {again[0]!r} twice" if again else f"lists {wrong[0]!r}, whose label or side is not valid"
        raise PluginError(f"data source {type(source).__qualname__} at {location} {what}")
    return items


def _look(
    source: DataSource, items: Sequence[Item], known: IndexCache, progress: Callable[[int, int], None] | None
) -> dict[str, Look]:
    """Looks at every item, several at a time; never more images in memory than threads."""

    def one(item: Item) -> Look:
        try:
            stamp = source.stamp(item.key)
            return known.get(item.key, stamp) or _look_at(source, item.key, stamp)
        except DataError as error:
            return Look(stamp="", reason=error.message)

    def some(part: Sequence[Item]) -> list[Look]:
        return [one(item) for item in part]

    looks: dict[str, Look] = {}
    parts = [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]
    pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="index")
    try:
        for part, found in zip(parts, pool.map(some, parts), strict=True):
            for item, look in zip(part, found, strict=True):
                looks[item.key] = look
                known.put(item.key, look)
            if progress is not None:
                progress(len(looks), len(items))
    finally:
        pool.shutdown(cancel_futures=True)
    return looks


def _look_at(source: DataSource, key: str, stamp: str) -> Look:
    image = source.read(key)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__qualname__
        raise PluginError(
            f"data source {type(source).__qualname__} read {key!r} as {what}", hint="it must give uint8 [H, W, 3]"
        )
    grey = bool((image[..., :1] == image[..., 1:]).all())
    return Look(stamp=stamp, id=pixel_hash(image), height=image.shape[0], width=image.shape[1], grey=grey)


def _without_conflicts(found: Sequence[Found]) -> tuple[list[Found], tuple[tuple[str, ...], ...]]:
    """Leaves out the copies of one image that bear different labels: nobody knows which is right."""
    labels: dict[str, set[str]] = defaultdict(set)
    for one in found:
        labels[one[1].id].add(one[0].label)
    keys: dict[str, list[str]] = defaultdict(list)
    for one in found:
        if len(labels[one[1].id]) > 1:
            keys[one[1].id].append(one[0].key)
    sound = [one for one in found if one[1].id not in keys]
    return sound, tuple(sorted(tuple(sorted(some)) for some in keys.values()))


def _member(one: Found) -> Member:
    return Member(id=one[1].id, label=one[0].label, group=one[0].group, side=one[0].side)


def _classes(
    items: Sequence[Item],
    found: Sequence[Found],
    broken: Sequence[tuple[str, str]],
    conflicts: Sequence[tuple[str, ...]],
    location: str,
) -> tuple[str, ...]:
    """The classes in order, each with two different images or more."""
    distinct: dict[str, set[str]] = {item.label: set() for item in items}
    for one in found:
        distinct[one[0].label].add(one[1].id)
    classes = tuple(sorted(distinct))
    if len(classes) < 2:
        raise DataError(f"{location}: one class only, {classes[0]!r}", hint="classification needs at least two")
    small = [label for label in classes if len(distinct[label]) < 2]
    if small:
        left_out = len(broken) + sum(map(len, conflicts))
        raise DataError(
            f"{location}: {len(small)} of {len(classes)} classes have fewer than two different images"
            + (f" ({left_out} images are broken, or copies with two labels)" if left_out else "")
            + "\n"
            + listed(f"{label}: {len(distinct[label])}" for label in small),
            hint="add images to these classes, or remove the classes",
        )
    return classes


def _check_sides(
    parts: Mapping[Side, Sequence[Found]], classes: Sequence[str], fractions: Fractions, location: str
) -> None:
    untrained = sorted(set(classes) - {one[0].label for one in parts["train"]})
    if untrained:
        raise DataError(
            f"{location}: {len(untrained)} of {len(classes)} classes have no image to train on\n" + listed(untrained),
            hint="every class needs images outside val and test that are in no group with those",
        )
    empty = [side for side in ("val", "test") if not parts[side] and getattr(fractions, side)]
    if empty:
        raise DataError(
            f"{location}: too few images for a {' and a '.join(empty)} side",
            hint="three different images a class always suffice; members of one group count as one",
        )


def _split(part: Sequence[Found], classes: Sequence[str], reader: Callable[[str], Image]) -> Split:
    number = {label: i for i, label in enumerate(classes)}
    # By hash: an order that mixes the classes and that renaming files does not change.
    part = sorted(part, key=lambda one: (one[1].id, one[0].key))
    return Split(
        ids=tuple(one[1].id for one in part),
        labels=np.array([number[one[0].label] for one in part], dtype=np.int64),
        keys=tuple(one[0].key for one in part),
        reader=reader,
    )


def task_fingerprint(task: Task) -> str:
    """Changes when the classes, or the images or labels of train or val, change."""
    parts = [
        [f"{id} {label}" for id, label in sorted(zip(part.ids, part.labels.tolist(), strict=True))]
        for part in (task.train, task.val)
    ]
    return _digest([*task.classes, "", *parts[0], "", *parts[1]])


def _digest(lines: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(lines).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def name_of(location: str) -> str:
    """What a task is called after its place: the last part, without a file's ending or the options of a place."""
    path = os.path.expanduser(location)
    if os.path.exists(path):
        name = os.path.basename(os.path.abspath(path))
        return (name if os.path.isdir(path) else _ENDING.sub("", name)) or "images"
    return re.split(r"[/\\:]", _OPTIONS.split(location)[0])[-1] or "images"
