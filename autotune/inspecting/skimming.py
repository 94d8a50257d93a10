"""Stage one: every file is read and none is decoded."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from autotune.data import DataSource
from autotune.errors import DataError
from autotune.headers import read_header
from autotune.images import pixel_limit
from autotune.indexing.cache import Look
from autotune.indexing.looking import each
from autotune.indexing.table import Table

_PART = 16_384
"""Bytes of each of three places in a file that are hashed first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skim:
    """What the files of one place say of themselves.

    Attributes:
        table: What was seen of each: its ``ids`` are hashes of the files' bytes, and its sizes those of the headers,
            0 where a header does not say.
        nbytes: Size of all files.
        seconds: How long that took, the listing included.
    """

    table: Table
    nbytes: int
    seconds: float


def skim(source: DataSource, *, location: str, progress: Callable[[int, int], None] | None = None) -> Skim | None:
    """Reads header and end marker of every file and hashes its bytes; None where images lie in no files.

    Found are files that are empty, cut short, no images, or larger than may be decoded, and copies byte by byte.

    Args:
        source: Lists and reads the files.
        location: Where they are, for messages.
        progress: Told how many files are done, and how many there are.

    Raises:
        DataError: There are no images.
        PluginError: The source breaks its contract.
    """
    began = time.monotonic()
    table = Table(source, location)
    limit = pixel_limit(source.max_pixels)

    def one(key: str) -> tuple[Look, int] | None:
        try:
            content = source.content(key)
        except DataError as error:
            return Look(stamp="", reason=error.message), 0
        return None if content is None else (_skimmed(content, key, limit), len(content))

    nbytes = 0
    for number, seen in enumerate(each(one, table.keys, progress)):
        if seen is None:
            return None
        table.put(number, seen[0])
        nbytes += seen[1]
    for same in list(table.copies(table.sound())):
        for number in same.tolist():
            table.put(number, _whole(source, table.keys[number], table, number))
    return Skim(table=table, nbytes=nbytes, seconds=time.monotonic() - began)


def _skimmed(content: bytes, key: str, limit: int) -> Look:
    header = read_header(content)
    if header.problem is not None:
        return Look(stamp="", reason=f"{key}: {header.problem}")
    if header.width * header.height > limit:
        size = f"{header.width}x{header.height} pixels, more than the limit of {limit:,}"
        return Look(stamp="", reason=f"{key}: {size}")
    return Look(stamp="", id=_hash(_parts(content)), height=header.height, width=header.width)


def _parts(content: bytes) -> list[bytes]:
    """Length, beginning, middle and end of a file: files that differ nearly always differ in these."""
    middle = len(content) // 2
    some = (
        [content]
        if len(content) <= 3 * _PART
        else [content[:_PART], content[middle : middle + _PART], content[-_PART:]]
    )
    return [str(len(content)).encode(), *some]


def _whole(source: DataSource, key: str, table: Table, number: int) -> Look:
    """The look at a file that seems to be a copy, with a hash of all its bytes."""
    height, width = int(table.heights[number]), int(table.widths[number])
    try:
        return Look(stamp="", id=_hash([b"whole", source.content(key) or b""]), height=height, width=width)
    except DataError as error:
        return Look(stamp="", reason=error.message)


def _hash(parts: list[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
