"""Rows of tensors by key, kept in memory-mapped files that trials, processes and studies share.

What a frozen network says of an image, or an image once decoded, is computed once and read from then on. An entry is
verified when a process first opens it; one that is cut short, altered, of another version or made from something
else is never used but made anew. Processes that map the same entry share its pages.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from autotune import cache_entries, cache_locks
from autotune.cache_entries import Entry, Unusable, arrays_folder
from autotune.vision.arraybuild import Build, NoRoom, Unwritable, in_memory, locking, verified
from autotune.vision.arrayrows import Arrays, map_entry

__all__ = ["ArrayCache", "Arrays", "NoRoom", "fingerprint"]

VERSION = 1
"""Raise it where the same parts come to mean other values."""


class ArrayCache:
    """Finds arrays by key, or makes and keeps them.

    Args:
        folder: The cache folder, e.g. `autotune.Run.cache`.
        limit: How many bytes all kinds together may have on disk, e.g. `autotune.Run.cache_limit`; None is a tenth
            of the free disk.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder = folder
        self.limit = limit

    def get(
        self,
        key: str,
        facts: Mapping[str, Any],
        count: int,
        produce: Callable[[], Iterator[tuple[torch.Tensor, ...]]],
        *,
        keep_going: Callable[[], bool],
        kind: str = "activations",
        disk_only: bool = False,
    ) -> Arrays | None:
        """What is kept for a key; made first if it is not there, or not as it should be.

        Another process that needs the same key at the same time waits until it is made. Where the disk has no room,
        or the folder cannot be written, the rows stay in memory, and `Arrays.note` says why.

        Args:
            key: A `fingerprint` of everything that decides the values.
            facts: json types; the same, to be read by people, and compared as well.
            count: How many rows there are.
            produce: Yields the rows in order, as tuples of tensors [B, ...] on any device; every batch with the same
                number of tensors, dtypes and shapes of a row. They are written as they come.
            keep_going: Asked once a batch, while waiting, and while verifying.
            kind: What it holds: the folder, and a column of ``autotune cache ls``.
            disk_only: Whether it is made on disk or not at all.

        Returns:
            The arrays; None as soon as `keep_going` says no.

        Raises:
            NoRoom: It fits neither on disk nor in memory, or not on disk where it is to be only there.
            ValueError: `produce` yields too few or too many rows, or rows of different kinds.
        """
        if count < 1:
            raise ValueError(f"count is {count}; there must be at least one row")
        facts = json.loads(json.dumps(facts, allow_nan=False))
        place = _place(self.folder, kind, key)
        name = _name(self.folder, kind, key, facts, count)
        stopped = False

        def going() -> bool:
            nonlocal stopped
            stopped = stopped or not keep_going()
            return not stopped

        if (found := in_memory.pop(name, None)) is not None:
            in_memory[name] = found  # used last
            return found
        found, _ = _open(place, facts, count, going)
        if found is not None or stopped:
            return found
        record = {"facts": facts, "kind": kind, "key": key}
        try:
            with locking(place.with_suffix(".lock"), going) as lock:
                if lock is None:
                    return None
                found, problem = _open(place, facts, count, going)
                if found is not None or stopped:
                    return found
                build = Build(
                    self.folder, self.limit, (place, lock), record, count, going, problem, disk_only=disk_only
                )
                made = build.run(produce)
        except Unwritable as error:
            found, _ = _open(place, facts, count, going)  # another user may have made it while we waited for their lock
            if found is not None or stopped:
                return found
            problem = f"{place.parent} cannot be written ({error.strerror})"
            if disk_only:
                raise NoRoom(problem) from error
            made = Build(self.folder, self.limit, None, record, count, going, problem).run(produce)
        if made is not None and made.path is None:
            in_memory[name] = made
        return made

    def find(
        self,
        key: str,
        facts: Mapping[str, Any],
        count: int,
        *,
        keep_going: Callable[[], bool],
        kind: str = "activations",
    ) -> Arrays | None:
        """What is kept for a key, verified; None where nothing can be used, or `keep_going` said no. See `get`."""
        plain = json.loads(json.dumps(facts, allow_nan=False))
        found = in_memory.get(_name(self.folder, kind, key, plain, count))
        return found or _open(_place(self.folder, kind, key), plain, count, keep_going)[0]

    def allowed(self) -> int:
        """How many bytes all entries together may have now; 0 where the folder cannot be looked at."""
        try:
            return cache_entries.limit_of(self.folder, self.limit)
        except OSError:
            # What is asked for next meets the same folder, and its note names it.
            return 0

    def ls(self) -> list[Entry]:
        """Every entry, the last used first."""
        return cache_entries.entries(self.folder)

    def clear(self, kind: str | None = None) -> int:
        """Removes what nobody has open, of one kind or of all. Returns the bytes."""
        return cache_entries.clear(self.folder, kind).nbytes


def fingerprint(**parts: Any) -> str:
    """A key from everything that decides what is kept, json types all.

    For activations that is the weights' digest, the cut's fingerprint, image size, preprocessing, view, dtype and the
    ids of the side.
    """
    text = json.dumps({"version": VERSION, "parts": parts}, sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _name(folder: Path, kind: str, key: str, facts: Mapping[str, Any], count: int) -> tuple[Path, str, str, str]:
    """What is in memory is found by this."""
    return folder, kind, key, json.dumps([facts, count])


def _place(folder: Path, kind: str, key: str) -> Path:
    for word in (kind, key):
        if not word.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"{word!r}: a kind or key is made of letters, digits, '-' and '_'")
    return arrays_folder(folder) / kind / key


def _open(
    place: Path, facts: Mapping[str, Any], count: int, keep_going: Callable[[], bool]
) -> tuple[Arrays | None, str | None]:
    """The entry, verified if this process has not done so; or None, and what is wrong with it if it is there."""
    try:
        held = cache_locks.hold(place / cache_entries.FACTS)
        if held is None:
            return None, None
        try:
            found, sums = map_entry(place, facts, count, held)
        except BaseException:
            os.close(held)
            raise
        if verified.get(place) != found.stamps:
            if not found.verify(sums, keep_going):
                return None, None
            verified[place] = found.stamps
    except (OSError, Unusable) as error:
        return None, f"{place} is made anew: {error}"
    return (found, None) if found.intact() else (None, f"{place} is made anew: it changed while it was opened")
