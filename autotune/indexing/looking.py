"""Looks at every image of a place once: decoded, hashed, measured, and remembered.

What was learned of an image is kept on disk, so that the next call decodes only what changed. A million images are
held as columns of numbers, and never more decoded ones than there are threads.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from autotune.data import DataSource, Image
from autotune.errors import DataError, PluginError
from autotune.headers import read_header
from autotune.indexing.cache import IndexCache, Look
from autotune.indexing.near_duplicates import perceptual_hash
from autotune.indexing.table import Table

T = TypeVar("T")

_AT_ONCE = 32
_AHEAD = 8
"""Parts that are under way for each thread, so that what is seen does not pile up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The images of one place, each looked at.

    Attributes:
        source: Lists and decodes them.
        location: Where they are, as the person wrote it.
        table: What was seen of each.
        decoded: Images that were decoded for it; the others were known.
    """

    source: DataSource
    location: str
    table: Table
    decoded: int


def look(
    source: DataSource,
    *,
    location: str,
    cache: Path,
    near: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Seen:
    """Looks at every image of a source that has changed since it was looked at last.

    Args:
        source: Lists and decodes the images.
        location: Where they are, as the person wrote it.
        cache: Folder that keeps what was learned of each image.
        near: Whether perceptual hashes are wanted.
        progress: Told how many images are done, and how many there are.

    Raises:
        DataError: There are no images.
        PluginError: The source breaks its contract.
    """
    table = Table(source, location)
    known = IndexCache(cache, location)

    def one(key: str) -> tuple[Look, bool]:
        """The look at an image, and whether it is new."""
        try:
            stamp = source.stamp(key)
            if (before := known.get(key, stamp, near=near)) is not None:
                return before, False
            return _look_at(source, key, stamp, near), True
        except DataError as error:
            return Look(stamp="", reason=error.message), True

    try:
        for number, (seen, new) in enumerate(each(one, table.keys, progress)):
            table.put(number, seen)
            if new:
                known.put(table.keys[number], seen)
    finally:
        known.write(table.keys)
    return Seen(source=source, location=location, table=table, decoded=known.decoded)


def pixel_hash(image: Image) -> str:
    """Hash of an image's shape and pixels: 16 hexadecimal digits."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def each(call: Callable[[str], T], keys: Sequence[str], progress: Callable[[int, int], None] | None) -> Iterator[T]:
    """What a call says of each image, in order; several are called at a time, and few are ahead of who asks.

    Args:
        call: Called with a key, from several threads.
        keys: The images.
        progress: Told how many images are done, and how many there are.
    """

    def some(begin: int) -> list[T]:
        return [call(key) for key in keys[begin : begin + _AT_ONCE]]

    threads = min(16, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="look")
    waiting: deque[Future[list[T]]] = deque()
    done = 0
    try:
        for begin in range(0, len(keys) + threads * _AHEAD * _AT_ONCE, _AT_ONCE):
            if begin < len(keys):
                waiting.append(pool.submit(some, begin))
            if waiting and (begin >= len(keys) or len(waiting) >= threads * _AHEAD):
                found = waiting.popleft().result()
                yield from found
                done += len(found)
                if progress is not None:
                    progress(done, len(keys))
    finally:
        pool.shutdown(cancel_futures=True)


def _look_at(source: DataSource, key: str, stamp: str, near: bool) -> Look:
    content = source.content(key)
    if content is not None and (problem := read_header(content).problem) is not None:
        raise DataError(f"{key}: {problem}")
    del content
    image = source.read(key)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__qualname__
        raise PluginError(
            f"data source {type(source).__qualname__} read {key!r} as {what}", hint="it must give uint8 [H, W, 3]"
        )
    grey = bool((image[..., :1] == image[..., 1:]).all())
    return Look(
        stamp=stamp,
        id=pixel_hash(image),
        height=image.shape[0],
        width=image.shape[1],
        grey=grey,
        near=perceptual_hash(image) if near else None,
    )
