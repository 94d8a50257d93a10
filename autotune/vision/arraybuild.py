"""Making one entry of the array cache: on disk where there is room, else in memory."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from autotune import cache_entries, cache_locks
from autotune.byte_sizes import format_bytes
from autotune.cache_entries import Unusable, arrays_folder
from autotune.errors import AutotuneError
from autotune.vision.arrayfiles import EntryWriter, Layout, Stamp, sync_folder
from autotune.vision.arrayrows import Arrays, map_entry
from autotune.vision.memory import memory_available, memory_of_machine

WAIT = 0.05
"""Seconds between two looks at a lock that another process holds."""
MEMORY_SHARE = 8
"""One part in so many of the machine's memory may hold what the disk has no room for."""
FREE_SHARE = 2
"""One part in so many of the memory that is free may be taken by an entry: other processes may need it as much."""

ROOM = "give the cache more room (--cache-size), or free some disk"
REMOVED = "it was removed or replaced while it was made"

verified: dict[Path, tuple[Stamp, ...]] = {}
"""What this process has verified, or written itself."""
in_memory: dict[tuple[Path, str, str, str], Arrays] = {}
"""What the disk had no room for: by folder, kind, key and facts."""
_living: weakref.WeakSet[Arrays] = weakref.WeakSet()


class NoRoom(AutotuneError):
    """Something fits neither the cache's limit and the disk nor memory; the message says why."""


class Unwritable(OSError):
    """The folder cannot be written."""


class Build:
    """Makes one entry: on disk if there is room, else in memory.

    Args:
        folder: The cache folder.
        limit: How many bytes it may hold; None is a tenth of the free disk.
        place: The entry's folder and the descriptor of our lock on it; None if it has to be in memory.
        record: Its facts, kind and key.
        count: How many rows there will be.
        keep_going: Asked once a batch.
        note: Why it has to be in memory, or was found wanting.
        disk_only: Whether it is made on disk or not at all.
    """

    def __init__(
        self,
        folder: Path,
        limit: int | None,
        place: tuple[Path, int] | None,
        record: Mapping[str, Any],
        count: int,
        keep_going: Callable[[], bool],
        note: str | None = None,
        *,
        disk_only: bool = False,
    ) -> None:
        self.folder, self.limit, self.disk_only = folder, limit, disk_only
        self.place = None if place is None else place[0]
        self.lock = None if place is None else place[1]
        self.record, self.count = record, count
        self.keep_going = keep_going
        self.note = note
        self.layouts: tuple[Layout, ...] = ()
        self.done = 0
        self._freed = 0
        self._writer: EntryWriter | None = None
        self._memory: list[torch.Tensor] | None = None

    def run(self, produce: Callable[[], Iterator[tuple[torch.Tensor, ...]]]) -> Arrays | None:
        """Takes the rows; None if `keep_going` said no.

        Raises:
            NoRoom: There is none on disk, nor, if it may be used, in memory, or no longer.
            ValueError: These are not the rows that were announced.
        """
        try:
            for batch in produce():
                if not self.keep_going() or not self._take(batch):
                    return None
            if self.done != self.count:
                if not self.keep_going():
                    return None
                raise ValueError(f"{self.done} rows were produced, and {self.count} announced")
            return self._finish()
        finally:
            self._drop()

    def _take(self, batch: tuple[torch.Tensor, ...]) -> bool:
        if not self.layouts:
            self.layouts = tuple(Layout.of(t) for t in batch)
            if not self._begin():
                return False
        laid = _laid(batch, self.layouts)
        if self.done + len(laid[0]) > self.count:
            raise ValueError(f"more than the {self.count} rows that were announced are produced")
        if self._writer is not None:
            try:
                self._writer.append(laid)
            except OSError as error:
                self._move_to_memory(f"the disk took only {self.done:,} of {self.count:,} rows ({error.strerror})")
        if self._memory is not None:
            if self._wanted > self._free:  # others fill memory too
                raise self._no_room()
            for room, tensor in zip(self._memory, laid, strict=True):
                room[self.done : self.done + len(tensor)] = tensor
        self.done += len(laid[0])
        return True

    def _begin(self) -> bool:
        """Makes room on disk or in memory; False if `keep_going` said no."""
        if self.place is not None:
            try:
                if not self._open_writer(self.place):
                    return False
            except OSError as error:
                self.note = f"{self.place.parent} cannot be written ({error.strerror})"
                self._drop()
        if self._writer is None:
            self._memory = self._room_in_memory()
        return True

    def _open_writer(self, place: Path) -> bool:
        """Makes room on disk and opens the files, or notes why there is none; False if `keep_going` said no."""
        part = place.with_suffix(".part")
        for old in (place, part):  # found wanting, and left by a writer that died
            cache_entries.discard(old)
        with locking(arrays_folder(self.folder) / ".lock", self.keep_going) as locked:
            if locked is not None:
                problem = cache_entries.make_room(self.folder, self._nbytes, self.limit)
                self.note = problem or self.note
                if problem is None:
                    part.mkdir()
                    try:
                        self._writer = EntryWriter(part, self.layouts, self.count)
                    except BaseException:
                        cache_entries.discard(part)
                        raise
            return locked is not None

    @property
    def _nbytes(self) -> int:
        return self.count * sum(layout.nbytes for layout in self.layouts)

    @property
    def _wanted(self) -> int:
        """Bytes that the rows which are still to come need."""
        return (self.count - self.done) * sum(layout.nbytes for layout in self.layouts)

    @property
    def _free(self) -> int:
        """Bytes that they may take now; memory that made way is ours, though the system may not count it as free."""
        ours = max(0, self._freed - (self._nbytes - self._wanted))
        return (memory_available() + ours) // FREE_SHARE

    def _room_in_memory(self) -> list[torch.Tensor]:
        """Room for all rows; what nobody uses any more makes way.

        Raises:
            NoRoom: There is none.
        """
        if self.disk_only:
            raise NoRoom(str(self.note), hint=ROOM)
        allowed, used = memory_of_machine() // MEMORY_SHARE, _used()
        while in_memory and (used + self._nbytes > allowed or self._wanted > self._free):
            del in_memory[next(iter(in_memory))]
            self._freed += used - _used()
            used = _used()
        if used + self._nbytes > allowed:
            raise self._no_room(f"{format_bytes(used)} of the {format_bytes(allowed)} that may be used are")
        if self._wanted > self._free:
            raise self._no_room()
        return [layout.empty(self.count) for layout in self.layouts]

    def _no_room(self, why: str = "") -> NoRoom:
        why = why or f"with what others have taken, {format_bytes(self._free)} may be used for the rest"
        return NoRoom(f"{self.note}; in memory {format_bytes(self._nbytes)} do not fit either: {why}", hint=ROOM)

    def _move_to_memory(self, note: str) -> None:
        """Goes on in memory with what was written so far."""
        self.note = note
        self._memory = self._room_in_memory()
        if self._writer is not None:
            self._writer.recall(self._memory)
        self._drop()

    def _finish(self) -> Arrays:
        if self._writer is not None and self.place is not None:
            try:
                return self._publish(self._writer, self.place)
            except Unusable as error:
                self._move_to_memory(f"{self.place} is not kept: {error}")
            except OSError as error:
                self._move_to_memory(f"{self.place.parent} cannot be written ({error.strerror})")
        made = Arrays(self._memory or [], self.layouts, note=self.note)
        _living.add(made)
        return made

    def _publish(self, writer: EntryWriter, place: Path) -> Arrays:
        """Makes what was written an entry, if it is still ours: somebody may have emptied the cache meanwhile.

        Raises:
            Unusable: It is not.
            OSError: It cannot be written.
        """
        if not writer.in_place():
            raise Unusable(REMOVED)
        stamps = tuple(writer.finish(self.record))
        # Held before the others can see it, so that nobody evicts it.
        held = cache_locks.hold(writer.folder / cache_entries.FACTS)
        if held is None:
            raise Unusable(REMOVED)
        try:
            if not writer.complete(held):
                raise Unusable(REMOVED)
            if self.lock is None or not cache_locks.is_at(self.lock, place.with_suffix(".lock")):
                raise Unusable("its lock file was removed while it was made")
            writer.folder.rename(place)
            sync_folder(place.parent)
            found, _ = map_entry(place, self.record["facts"], self.count, held)
        except BaseException:
            os.close(held)
            raise
        if found.stamps != stamps:  # somebody was faster than the rename; `found` lets go of what it holds
            raise Unusable(REMOVED)
        verified[place] = stamps
        found.note = self.note
        return found

    def _drop(self) -> None:
        """Removes what was not finished; another writer's folder of that name stays."""
        if self._writer is not None:
            try:
                if self._writer.in_place():
                    cache_entries.discard(self._writer.folder)
            finally:
                self._writer.close()
                self._writer = None


def _used() -> int:
    """Bytes that this process holds in memory for want of disk."""
    return sum(arrays.nbytes for arrays in _living)


def _laid(batch: tuple[torch.Tensor, ...], layouts: Sequence[Layout]) -> list[torch.Tensor]:
    shapes = [(str(t.dtype).removeprefix("torch."), tuple(t.shape[1:])) for t in batch]
    if shapes != [(layout.dtype, layout.shape) for layout in layouts] or len({len(t) for t in batch}) != 1:
        raise ValueError(f"a batch has {shapes}, the first one had {[(x.dtype, x.shape) for x in layouts]}")
    return [layout.lay(t) for layout, t in zip(layouts, batch, strict=True)]


@contextlib.contextmanager
def locking(path: Path, keep_going: Callable[[], bool]) -> Iterator[int | None]:
    """Holds a lock file, and gives its descriptor; None if `keep_going`, asked while waiting, said no.

    Raises:
        Unwritable: The lock file cannot be made or locked.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while (descriptor := cache_locks.lock(path)) is None and keep_going():
            time.sleep(WAIT)
    except OSError as error:
        raise Unwritable(error.errno, error.strerror) from error
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            cache_locks.unlock(path, descriptor)
