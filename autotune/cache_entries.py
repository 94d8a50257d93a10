"""What the cache folder keeps between trials: its entries, who uses them, and which one goes first.

An entry is a folder ``arrays/KIND/KEY`` with ``facts.json`` beside its data. ``facts.json`` carries the time of last
use as its own time stamp, and a shared lock (`flock`, which dies with its holder) as long as somebody has the entry
open. Whoever writes an entry holds ``KEY.lock`` and works in ``KEY.part``; ``KEY.gone`` is on its way out.
Nothing here needs torch, so that the command line can list and clear without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.byte_sizes import format_bytes
from autotune.cache_locks import claim, lock, unlock
from autotune.errors import AutotuneError, UnknownName

FORMAT = 1
FACTS = "facts.json"
SHARE = 10
"""One part in so many of the free disk is the default limit."""
_SPARE = 20
"""One part in so many of the free disk is never used, so that studies can still write their checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry.

    Attributes:
        key: What it is found by.
        kind: What it holds, e.g. ``activations``.
        facts: What it was made from; json types. Empty if its ``facts.json`` cannot be read.
        nbytes: Its size on disk.
        used: When it was last used, in seconds since 1970.
        path: Its folder.
    """

    key: str
    kind: str
    facts: Mapping[str, Any]
    nbytes: int
    used: float
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What there is.

    Attributes:
        path: Where it lies.
        entries: Every entry, the last used first.
        nbytes: Their size on disk.
        limit: How much they may take where a study does not say otherwise.
    """

    path: Path
    entries: tuple[Entry, ...]
    nbytes: int
    limit: int


class Unusable(Exception):
    """An entry is cut short, altered, or of another format; the text says what is wrong."""


def arrays_folder(cache: Path) -> Path:
    """The part of the cache folder that holds the entries."""
    return cache / "arrays"


def entries(cache: Path) -> list[Entry]:
    """Every whole entry, the last used first. No folder means no entries."""
    found = []
    for path in _folders(cache):
        if path.suffix:
            continue
        try:
            facts, used = read_facts(path)["facts"], (path / FACTS).stat().st_mtime
        except (Unusable, FileNotFoundError):
            facts, used = {}, 0.0  # nobody can use it: the first to go
        nbytes = _size(path)
        found.append(Entry(key=path.name, kind=path.parent.name, facts=facts, nbytes=nbytes, used=used, path=path))
    return sorted(found, key=lambda entry: -entry.used)


def contents(cache: Path) -> Contents:
    """What there is, and how much there may be."""
    found = tuple(entries(cache))
    return Contents(
        path=arrays_folder(cache), entries=found, nbytes=sum(e.nbytes for e in found), limit=limit_of(cache, None)
    )


def write_facts(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes an entry's ``facts.json``, which vouches for itself with a checksum, and has it on disk on return."""
    content = {**record, "format": FORMAT}
    with (folder / FACTS).open("w", encoding="utf-8") as file:
        json.dump({**content, "checksum": _checksum(content)}, file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())


def read_facts(folder: Path) -> dict[str, Any]:
    """The record that `write_facts` wrote.

    Raises:
        Unusable: It is not there, altered, or of another format.
    """
    try:
        record = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Unusable(f"{FACTS} cannot be read ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise Unusable(f"{FACTS} is of another format")
    if record.pop("checksum", None) != _checksum(record):
        raise Unusable(f"{FACTS} was altered")
    return record


def remove(folder: Path) -> int | None:
    """Removes an entry that nobody has open, and returns its bytes; None if somebody has.

    Raises:
        OSError: It cannot be removed.
    """
    if not (folder / FACTS).exists():
        return discard(folder)
    descriptor = claim(folder / FACTS)
    if descriptor is None:
        return None
    try:
        gone = _move_away(folder)
    finally:
        os.close(descriptor)
    return 0 if gone is None else _delete(gone)


def discard(folder: Path) -> int:
    """Removes a folder even if somebody has it open, who keeps what is mapped. Returns its bytes.

    Raises:
        OSError: It cannot be removed.
    """
    gone = _move_away(folder)
    return 0 if gone is None else _delete(gone)


def clear(cache: Path, kind: str | None = None) -> int:
    """Removes what nobody has open, of one kind or of all, and what dead writers left. Returns the bytes.

    Raises:
        UnknownName: There is nothing of that kind.
        AutotuneError: Something cannot be removed.
    """
    found = entries(cache)
    if kind is not None and kind not in {e.kind for e in found}:
        raise UnknownName("kind of cache entry", kind, {e.kind for e in found})
    try:
        return sweep(cache) + sum(remove(e.path) or 0 for e in found if kind in (None, e.kind))
    except OSError as error:
        raise AutotuneError(
            f"{error.filename}: cannot be removed ({error.strerror})",
            hint=f"remove {arrays_folder(cache)} as its owner",
        ) from error


def sweep(cache: Path) -> int:
    """Removes what writers left that died, and returns its bytes."""
    freed = 0
    for path in arrays_folder(cache).glob("*/*.*"):
        if path.suffix == ".gone":
            freed += _delete(path)
        elif path.suffix in (".part", ".lock"):
            place = path.with_suffix(".lock")
            descriptor = lock(place)
            if descriptor is not None:
                freed += _delete(path.with_suffix(".part"))
                unlock(place, descriptor)
    return freed


def limit_of(cache: Path, limit: int | None) -> int:
    """How many bytes all entries together may have now.

    Args:
        cache: The cache folder.
        limit: What was asked for; None is a tenth of the free disk, with what the entries use counted as free.

    Returns:
        That, or what the disk has room for if that is less.
    """
    there = next(path for path in (cache.absolute(), *cache.absolute().parents) if path.exists())
    room = shutil.disk_usage(there).free + sum(_size(p, allocated=True) for p in _folders(cache))
    return min(room // SHARE if limit is None else limit, room - room // _SPARE)


def make_room(cache: Path, nbytes: int, limit: int | None) -> str | None:
    """Removes entries, the longest unused first, until so many bytes fit; returns why they cannot, or None.

    Entries that somebody has open stay, and so do those that are being written. Nothing is removed in vain.
    """
    sweep(cache)
    allowed = limit_of(cache, limit)
    present = sum(_size(p) for p in _folders(cache))
    if nbytes > allowed:
        return f"it takes {format_bytes(nbytes)}, and the cache may have {format_bytes(allowed)}"
    with contextlib.ExitStack() as claims:
        going = []
        for entry in reversed(entries(cache)):
            if present + nbytes <= allowed:
                break
            if (entry.path / FACTS).exists():
                try:
                    descriptor = claim(entry.path / FACTS)
                except PermissionError:
                    continue  # somebody else's
                if descriptor is None:
                    continue
                claims.callback(os.close, descriptor)
            going.append(entry.path)
            present -= entry.nbytes
        if present + nbytes > allowed:
            used = f"{format_bytes(present)} of the {format_bytes(allowed)} that the cache may have"
            return f"it takes {format_bytes(nbytes)}, and {used} are in use"
        for path in going:
            discard(path)
    return None


def _folders(cache: Path) -> Iterator[Path]:
    """The folders of entries, whole ones and others."""
    yield from (path for path in arrays_folder(cache).glob("*/*") if path.is_dir())


def _size(folder: Path, *, allocated: bool = False) -> int:
    """Bytes of the files in a folder, as announced or, once written, as allocated; 0 if it has gone."""
    total = 0
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                total += status.st_blocks * 512 if allocated else status.st_size
    return total


def _move_away(folder: Path) -> Path | None:
    """Takes a folder's name away, so that nobody ever sees half of it; None if it is not there."""
    gone = folder.with_name(f"{folder.name}-{uuid.uuid4().hex}.gone")
    try:
        return folder.rename(gone)
    except FileNotFoundError:
        return None


def _delete(folder: Path) -> int:
    """Deletes a flat folder, which others may be deleting too."""
    nbytes = _size(folder)
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
        folder.rmdir()
    return nbytes


def _checksum(record: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(record, sort_keys=True, allow_nan=False).encode())
