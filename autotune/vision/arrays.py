"""Rows of tensors by key, kept in memory-mapped files that trials, processes and studies share.

What a frozen network says of an image, or an image once decoded, is computed once and read from then on. An entry is
verified when a process first opens it; one that is cut short, altered, of another version or made from something
else is never used but made anew. Processes that map the same entry share its pages.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from autotune import cache_entries
from autotune.cache_entries import Entry, Unusable, arrays_folder
from autotune.errors import AutotuneError, BadData
from autotune.vision.arrayfiles import (
    EntryWriter,
    Layout,
    Stamp,
    map_tensor,
    read_layouts,
    stamp_of,
    sync_folder,
    tensor_path,
    verify,
)

VERSION = 1
"""Raise it where the same parts come to mean other values."""
WAIT = 0.05
"""Seconds between two looks at a lock that another process holds."""
MEMORY_SHARE = 8
"""One part in so many of the machine's memory may hold what the disk has no room for."""

_verified: dict[Path, list[Stamp]] = {}
_in_memory: dict[tuple[Path, str, str, str], Arrays] = {}
_living: weakref.WeakSet[Arrays] = weakref.WeakSet()


class NoRoom(AutotuneError):
    """Something fits neither the cache's limit and the disk nor memory; the message says why."""


class Arrays:
    """What is kept for one key.

    Args:
        laid: The rows of each tensor as they lie.
        layouts: How they lie.
        path: The entry's folder; None for what is in memory.
        stamps: The stamps of its files when they were verified.
        held: A descriptor that marks the entry as in use until this object goes.
        note: Why it is in memory and not on disk.

    Attributes:
        tensors: Each [N, ...] in its logical shape, in memory or mapped read-only: writing into a mapped tensor ends
            the process. 4-D tensors are channels_last if they were so when they were made.
        note: Why it is in memory and not on disk, for the trial's notes; None for what is on disk.
    """

    def __init__(
        self,
        laid: Sequence[torch.Tensor],
        layouts: Sequence[Layout],
        *,
        path: Path | None = None,
        stamps: Sequence[Stamp] = (),
        held: int | None = None,
        note: str | None = None,
    ) -> None:
        self.tensors = tuple(layout.view(t) for layout, t in zip(layouts, laid, strict=True))
        self.path = path
        self.note = note
        self._laid = tuple(t.reshape(len(t), -1) for t in laid)
        self._layouts = tuple(layouts)
        self._stamps = tuple(stamps)
        self._held = held
        if held is not None:
            weakref.finalize(self, os.close, held)

    def __len__(self) -> int:
        return len(self._laid[0])

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return sum(t.nbytes for t in self._laid)

    def rows(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Copies of some rows, in the memory format of the original.

        Args:
            indices: int64 [B] on the CPU.

        Returns:
            One tensor [B, ...] for each of `tensors`.

        Raises:
            BadData: A file was cut short while in use.
        """
        if self.path is not None:
            self._check_sizes(self.path)
        return tuple(
            layout.view(laid.index_select(0, indices).view(len(indices), *layout.physical))
            for layout, laid in zip(self._layouts, self._laid, strict=True)
        )

    def intact(self) -> bool:
        """Whether the files are still those that were verified; cheap, to be asked once an epoch.

        Counts as a use. If it says False, `ArrayCache.get` makes or finds the entry anew.
        """
        if self.path is None or self._held is None:
            return True
        if any(stamp_of(tensor_path(self.path, i)) != stamp for i, stamp in enumerate(self._stamps)):
            return False
        with contextlib.suppress(OSError):  # somebody else's cache may be read though its times cannot be set
            os.utime(self._held)
        return True

    def _check_sizes(self, path: Path) -> None:
        """Reading a mapped file beyond its end would end the process without a word."""
        for number, stamp in enumerate(self._stamps):
            now = stamp_of(tensor_path(path, number))
            if now is not None and now[0] == stamp[0] and now[1] < stamp[1]:
                raise BadData(
                    f"{tensor_path(path, number)}: was cut short while in use",
                    hint="leave the cache folder to autotune; `autotune cache clear` empties it",
                )


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

        Returns:
            The arrays; None as soon as `keep_going` says no.

        Raises:
            NoRoom: It fits neither on disk nor in memory.
            ValueError: `produce` yields too few or too many rows, or rows of different kinds.
        """
        if count < 1:
            raise ValueError(f"count is {count}; there must be at least one row")
        facts = json.loads(json.dumps(facts, allow_nan=False))
        place = _place(self.folder, kind, key)
        name = (self.folder, kind, key, json.dumps([facts, count]))
        stopped = False

        def going() -> bool:
            nonlocal stopped
            stopped = stopped or not keep_going()
            return not stopped

        if (found := _in_memory.get(name)) is not None:
            return found
        if (found := _open(place, facts, count, going)) is not None or stopped:
            return found
        record = {"facts": facts, "kind": kind, "key": key}
        try:
            with _locked(place.with_suffix(".lock"), going) as locked:
                if not locked:
                    return None
                if (found := _open(place, facts, count, going)) is not None or stopped:
                    return found
                made = _Build(self, place, record, count, going).run(produce)
        except _Unwritable as error:
            note = f"{place.parent} cannot be written ({error.strerror})"
            made = _Build(self, None, record, count, going, note).run(produce)
        if made is not None and made.path is None:
            _in_memory[name] = made
        return made

    def has(self, key: str, kind: str = "activations") -> bool:
        """Whether there is an entry for a key. It is not verified."""
        return (_place(self.folder, kind, key) / cache_entries.FACTS).is_file()

    def ls(self) -> list[Entry]:
        """Every entry, the last used first."""
        return cache_entries.entries(self.folder)

    def clear(self, kind: str | None = None) -> int:
        """Removes what nobody has open, of one kind or of all. Returns the bytes."""
        return cache_entries.clear(self.folder, kind)


def fingerprint(**parts: Any) -> str:
    """A key from everything that decides what is kept, json types all.

    For activations that is the weights' digest, the cut's fingerprint, image size, preprocessing, view, dtype and the
    ids of the side.
    """
    text = json.dumps({"version": VERSION, "parts": parts}, sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class _Unwritable(OSError):
    """The folder cannot be written."""


class _Build:
    """Makes one entry: on disk if there is room, else in memory.

    Args:
        cache: Folder and limit.
        place: The entry's folder, locked for us; None if it has to be in memory.
        record: Its facts, kind and key.
        count: How many rows there will be.
        keep_going: Asked once a batch.
        note: Why it has to be in memory.
    """

    def __init__(
        self,
        cache: ArrayCache,
        place: Path | None,
        record: Mapping[str, Any],
        count: int,
        keep_going: Callable[[], bool],
        note: str | None = None,
    ) -> None:
        self.cache, self.place, self.record, self.count = cache, place, record, count
        self.keep_going = keep_going
        self.note = note
        self.layouts: tuple[Layout, ...] = ()
        self.done = 0
        self._writer: EntryWriter | None = None
        self._memory: list[torch.Tensor] | None = None

    def run(self, produce: Callable[[], Iterator[tuple[torch.Tensor, ...]]]) -> Arrays | None:
        """Takes the rows; None if `keep_going` said no."""
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
        with _locked(arrays_folder(self.cache.folder) / ".lock", self.keep_going) as locked:
            if locked:
                self.note = cache_entries.make_room(self.cache.folder, self._nbytes, self.cache.limit)
            if locked and self.note is None:
                part.mkdir()
                self._writer = EntryWriter(part, self.layouts, self.count)
            return locked

    @property
    def _nbytes(self) -> int:
        return self.count * sum(layout.nbytes for layout in self.layouts)

    def _room_in_memory(self) -> list[torch.Tensor]:
        allowed = memory_of_machine() // MEMORY_SHARE
        while _in_memory and sum(a.nbytes for a in _living) + self._nbytes > allowed:
            del _in_memory[next(iter(_in_memory))]
        used = sum(a.nbytes for a in _living)
        if used + self._nbytes > allowed:
            raise NoRoom(
                f"{self.note}; in memory {self._nbytes:,} bytes do not fit either: "
                f"{used:,} of the {allowed:,} that may be used are",
                hint="give the cache more room (--cache-size), or free some disk",
            )
        return [layout.empty(self.count) for layout in self.layouts]

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
            except (OSError, Unusable) as error:
                self._move_to_memory(f"{self.place.parent} cannot be written ({error})")
        made = Arrays(self._memory or [], self.layouts, note=self.note)
        _living.add(made)
        return made

    def _publish(self, writer: EntryWriter, place: Path) -> Arrays:
        stamps = writer.finish(self.record)
        held = cache_entries.hold(writer.folder)  # before the others can see it, so that nobody evicts it
        if held is None:
            raise Unusable("it was removed while it was written")
        try:
            writer.folder.rename(place)
            sync_folder(place.parent)
            _verified[place] = stamps
            found = _map(place, self.record["facts"], self.count, held)
        except BaseException:
            os.close(held)
            raise
        return found[0]

    def _drop(self) -> None:
        """Removes what was not finished."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self.place is not None and (part := self.place.with_suffix(".part")).exists():
            cache_entries.discard(part)


def memory_of_machine() -> int:
    """Bytes of memory that this process may use at most: the machine's, or its container's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no container, or "max"
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


def _place(folder: Path, kind: str, key: str) -> Path:
    for word in (kind, key):
        if not word.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"{word!r}: a kind or key is made of letters, digits, '-' and '_'")
    return arrays_folder(folder) / kind / key


def _laid(batch: tuple[torch.Tensor, ...], layouts: Sequence[Layout]) -> list[torch.Tensor]:
    shapes = [(str(t.dtype).removeprefix("torch."), tuple(t.shape[1:])) for t in batch]
    if shapes != [(layout.dtype, layout.shape) for layout in layouts] or len({len(t) for t in batch}) != 1:
        raise ValueError(f"a batch has {shapes}, the first one had {[(x.dtype, x.shape) for x in layouts]}")
    return [layout.lay(t) for layout, t in zip(layouts, batch, strict=True)]


def _open(place: Path, facts: Mapping[str, Any], count: int, keep_going: Callable[[], bool]) -> Arrays | None:
    """The entry, verified if this process has not done so; None if it is not there or cannot be used."""
    try:
        held = cache_entries.hold(place)
        if held is None:
            return None
        try:
            found, sums = _map(place, facts, count, held)
        except BaseException:
            os.close(held)
            raise
    except (OSError, Unusable):
        return None  # it is made anew
    if _verified.get(place) != list(found._stamps):
        try:
            for laid, wanted in zip(found._laid, sums, strict=True):
                if not verify(laid, wanted, keep_going):
                    return None
        except Unusable:
            return None
        _verified[place] = list(found._stamps)
    return found if found.intact() else None


def _map(place: Path, facts: Mapping[str, Any], count: int, held: int) -> tuple[Arrays, list[list[int]]]:
    layouts, sums = read_layouts(place, facts, count)
    mapped = [map_tensor(tensor_path(place, i), layout, count) for i, layout in enumerate(layouts)]
    arrays = Arrays([t for t, _ in mapped], layouts, path=place, stamps=[s for _, s in mapped], held=held)
    return arrays, sums


@contextlib.contextmanager
def _locked(path: Path, keep_going: Callable[[], bool]) -> Iterator[bool]:
    """Holds a lock file; False if `keep_going`, asked while waiting, said no.

    Raises:
        _Unwritable: The lock file cannot be made or locked.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while (descriptor := cache_entries.lock(path)) is None and keep_going():
            time.sleep(WAIT)
    except OSError as error:
        raise _Unwritable(error.errno, error.strerror) from error
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            cache_entries.unlock(path, descriptor)
