"""What the cache folder keeps between trials: its entries, who uses them, and which one goes first.

An entry is a folder ``arrays/KIND/KEY`` with ``facts.json`` beside its data. ``facts.json`` carries the time of last
use as its own time stamp, and a shared lock (`flock`, which dies with its holder) as long as somebody has the entry
open. Whoever writes an entry holds ``KEY.lock`` and works in ``KEY.part``; ``KEY.gone`` is on its way out.
Nothing here needs torch, so that the command line can list and clear without it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
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
        used: When it was last used, in seconds since 1970; 0 if that cannot be known.
        path: Its folder.
        problem: Why its ``facts.json`` cannot be used; None if it can.
    """

    key: str
    kind: str
    facts: Mapping[str, Any]
    nbytes: int
    used: float
    path: Path
    problem: str | None = None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What was removed, and what was not.

    Attributes:
        nbytes: How many bytes were freed.
        in_use: Entries that stayed because somebody has them open.
        denied: What stayed because it belongs to somebody else.
    """

    nbytes: int
    in_use: tuple[Entry, ...] = ()
    denied: tuple[Path, ...] = ()


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
        problem = None
        try:
            facts, used = read_facts(path)["facts"], (path / FACTS).stat().st_mtime
        except (Unusable, FileNotFoundError) as error:
            facts, used = {}, 0.0  # nobody can use it: the first to go
            denied = isinstance(error.__cause__, PermissionError)
            problem = f"may be read by its owner only: {path / FACTS}" if denied else f"damaged: {error}"
        found.append(
            Entry(
                key=path.name,
                kind=path.parent.name,
                facts=facts,
                nbytes=_size(path),
                used=used,
                path=path,
                problem=problem,
            )
        )
    return sorted(found, key=lambda entry: -entry.used)


def contents(cache: Path) -> Contents:
    """What there is, and how much there may be."""
    found = tuple(entries(cache))
    return Contents(
        path=arrays_folder(cache), entries=found, nbytes=sum(e.nbytes for e in found), limit=limit_of(cache, None)
    )


def write_facts(folder: Path | int, record: Mapping[str, Any]) -> None:
    """Writes an entry's ``facts.json``, which vouches for itself with a checksum, and has it on disk on return.

    Args:
        folder: The entry's folder: its path, or a descriptor of it, which names this very folder whatever became of
            its path.
        record: What to write; json types.

    Raises:
        OSError: It cannot be written, or the folder of the descriptor was removed.
    """
    content = {**record, "format": FORMAT}

    def opener(path: str, flags: int) -> int:
        return os.open(path, flags, 0o666, dir_fd=folder if isinstance(folder, int) else None)

    place = FACTS if isinstance(folder, int) else folder / FACTS
    with open(place, "w", encoding="utf-8", opener=opener) as file:
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
        PermissionError: It belongs to somebody else.
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
        PermissionError: It belongs to somebody else.
        OSError: It cannot be removed.
    """
    gone = _move_away(folder)
    return 0 if gone is None else _delete(gone)


def clear(cache: Path, kind: str | None = None) -> Cleared:
    """Removes what nobody has open, of one kind or of all, and what dead writers left.

    Raises:
        UnknownName: There are entries, and there never was one of that kind.
        AutotuneError: Something cannot be removed, and not because it belongs to somebody else.
    """
    found = entries(cache)
    kinds = {path.name for path in arrays_folder(cache).glob("*") if os.path.isdir(path)}
    if kind is not None and found and kind not in kinds:
        raise UnknownName("kind of cache entry", kind, kinds)
    freed, in_use, denied = 0, [], []
    try:
        swept = sweep(cache)
        for entry in found:
            if kind not in (None, entry.kind):
                continue
            try:
                nbytes = remove(entry.path)
            except PermissionError:
                denied.append(entry.path)
                continue
            if nbytes is None:
                in_use.append(entry)
            else:
                freed += nbytes
    except OSError as error:
        raise AutotuneError(
            f"{error.filename}: cannot be removed ({error.strerror})",
            hint=f"remove {arrays_folder(cache)} as its owner",
        ) from error
    return Cleared(nbytes=swept.nbytes + freed, in_use=tuple(in_use), denied=(*swept.denied, *denied))


def sweep(cache: Path) -> Cleared:
    """Removes what writers left that died; what another user's left stays where only they may remove it."""
    freed, denied = 0, []
    for path in arrays_folder(cache).glob("*/*.*"):
        try:
            if path.suffix == ".gone":
                freed += _delete(path)
            elif path.suffix in (".part", ".lock"):
                freed += _sweep_writer(path)
        except PermissionError:
            denied.append(path)
    return Cleared(nbytes=freed, denied=tuple(denied))


def _sweep_writer(path: Path) -> int:
    """Removes a writer's folder and lock file, unless it still lives; returns the bytes."""
    place = path.with_suffix(".lock")
    descriptor = lock(place)
    if descriptor is None:
        return 0
    try:
        return _delete(path.with_suffix(".part"))
    finally:
        unlock(place, descriptor)


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

    Entries that somebody has open stay, and so do those that are being written, and those of other users where only
    they may remove them. Nothing is removed in vain.
    """
    sweep(cache)
    allowed = limit_of(cache, limit)
    present = sum(_size(p) for p in _folders(cache))
    if nbytes > allowed:
        return f"it takes {format_bytes(nbytes)}, and the cache may have {format_bytes(allowed)}"
    stay = "in use"
    with contextlib.ExitStack() as claims:
        going = []
        for entry in reversed(entries(cache)):
            if present + nbytes <= allowed:
                break
            if not _removable(entry.path):
                stay = "in use or somebody else's"
                continue
            if (entry.path / FACTS).exists():
                try:
                    descriptor = claim(entry.path / FACTS)
                except PermissionError:
                    stay = "in use or somebody else's"
                    continue
                if descriptor is None:
                    continue
                claims.callback(os.close, descriptor)
            going.append(entry.path)
            present -= entry.nbytes
        if present + nbytes > allowed:
            used = f"{format_bytes(present)} of the {format_bytes(allowed)} that the cache may have"
            return f"it takes {format_bytes(nbytes)}, and {used} are {stay}"
        for path in going:
            discard(path)
    return None


def _folders(cache: Path) -> Iterator[Path]:
    """The folders of entries, whole ones and others; not those that only another user may see."""
    yield from (path for path in arrays_folder(cache).glob("*/*") if os.path.isdir(path))


def _size(folder: Path, *, allocated: bool = False) -> int:
    """Bytes of the files in a folder, as announced or, once written, as allocated; 0 if it cannot be looked into."""
    total = 0
    with contextlib.suppress(FileNotFoundError, PermissionError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                total += status.st_blocks * 512 if allocated else status.st_size
    return total


def _move_away(folder: Path) -> Path | None:
    """Takes a folder's name away, so that nobody ever sees half of it; None if it is not there.

    Raises:
        PermissionError: It belongs to somebody else, who would be left with a name that nothing removes.
    """
    if os.path.isdir(folder) and not _removable(folder):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    gone = folder.with_name(f"{folder.name}-{uuid.uuid4().hex}.gone")
    try:
        return folder.rename(gone)
    except FileNotFoundError:
        return None


def _removable(folder: Path) -> bool:
    """Whether this user may take a folder's name away and delete what lies in it."""
    try:
        parent, owner = folder.parent.stat(), folder.stat().st_uid
    except OSError:
        return False
    pinned = parent.st_mode & stat.S_ISVTX and os.geteuid() not in (0, parent.st_uid, owner)
    return not pinned and all(os.access(path, os.W_OK | os.X_OK) for path in (folder.parent, folder))


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
