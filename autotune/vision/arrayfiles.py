"""One entry of the array cache on disk: raw files, one a tensor, beside the facts that vouch for them.

A file holds the rows one after the other in the order in which they lie in memory, so that a row is one piece.
Checksums are CRC-32, one for every 16 MiB: of what the standard library has it is the fastest (3.8 GiB/s on one
core here, against 1.3 for SHA-256), and it finds every altered byte, which is all that is asked of it: the cache
guards against accidents, not against a person who may write into the folder anyway.
"""

from __future__ import annotations

import io
import mmap
import os
import sys
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from autotune.cache_entries import FACTS, Unusable, read_facts, write_facts
from autotune.cache_locks import is_at

CHUNK = 16 << 20

Stamp: TypeAlias = tuple[int, int, int, int]
"""Inode, size, and the times of the last change to content and status."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of one tensor lie.

    Attributes:
        dtype: As torch names it, e.g. ``bfloat16``.
        shape: The logical shape of one row.
        channels_last: Whether a row [C, H, W] lies as [H, W, C].
    """

    dtype: str
    shape: tuple[int, ...]
    channels_last: bool = False

    @classmethod
    def of(cls, batch: torch.Tensor) -> Layout:
        """The layout of a batch [B, ...]; where both fit, 4-D float tensors count as channels_last."""
        last = batch.ndim == 4 and batch.is_contiguous(memory_format=torch.channels_last)
        last = last and (batch.is_floating_point() or not batch.is_contiguous())
        return cls(str(batch.dtype).removeprefix("torch."), tuple(batch.shape[1:]), last)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype itself."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    @property
    def physical(self) -> tuple[int, ...]:
        """The shape of one row as it lies."""
        return (*self.shape[1:], self.shape[0]) if self.channels_last else self.shape

    @property
    def nbytes(self) -> int:
        """Bytes of one row."""
        return torch.Size(self.shape).numel() * self.torch_dtype.itemsize

    def lay(self, batch: torch.Tensor) -> torch.Tensor:
        """A batch [B, ...] as it lies, contiguous, on the CPU."""
        batch = batch.detach().cpu()
        return (batch.permute(0, 2, 3, 1) if self.channels_last else batch).contiguous()

    def view(self, laid: torch.Tensor) -> torch.Tensor:
        """The logical view of rows as they lie."""
        return laid.permute(0, 3, 1, 2) if self.channels_last else laid

    def empty(self, count: int) -> torch.Tensor:
        """Room for so many rows as they lie."""
        return torch.empty((count, *self.physical), dtype=self.torch_dtype)


def bytes_of(laid: torch.Tensor) -> memoryview:
    """The bytes of a contiguous tensor on the CPU, without a copy."""
    content: Any = laid.reshape(-1).view(torch.uint8).numpy()
    return memoryview(content)


class EntryWriter:
    """Writes an entry's rows as they come.

    Args:
        folder: Where; it exists and is empty.
        layouts: One a tensor.
        count: How many rows there will be. Files have their full size from the start, so that others see how much
            room this entry takes.

    Raises:
        OSError: The folder cannot be written, or not so much.
    """

    def __init__(self, folder: Path, layouts: Sequence[Layout], count: int) -> None:
        self.folder = folder
        self.layouts = tuple(layouts)
        self.count = count
        self.done = 0
        self._files: list[io.FileIO] = []
        self._sums: list[list[int]] = [[] for _ in self.layouts]
        # Paths may come to name another writer's folder, if somebody empties the cache meanwhile; this does not.
        self._folder = os.open(folder, os.O_RDONLY)
        try:
            for number, layout in enumerate(self.layouts):
                file = tensor_path(folder, number).open("x+b", buffering=0)
                self._files.append(file)
                file.truncate(count * layout.nbytes)
        except BaseException:
            self.close()
            raise

    def append(self, laid: Sequence[torch.Tensor]) -> None:
        """Writes the next rows, one tensor [B, ...] a file, as they lie.

        Raises:
            OSError: They cannot be written; `done` says how many rows are whole, and `recall` reads them back.
        """
        for number, tensor in enumerate(laid):
            self._write(number, bytes_of(tensor))
        self.done += len(laid[0])

    def recall(self, into: Sequence[torch.Tensor]) -> None:
        """Reads the `done` rows back.

        Raises:
            OSError: They cannot be read, or are cut short.
        """
        for file, tensor in zip(self._files, into, strict=True):
            file.seek(0)
            rest = bytes_of(tensor[: self.done])
            while rest:
                got = file.readinto(rest)
                if not got:
                    raise OSError(f"{file.name} was cut short")
                rest = rest[got:]

    def finish(self, record: Mapping[str, Any]) -> list[Stamp]:
        """Writes the facts, has everything on disk, and returns the stamps of the files.

        Raises:
            OSError: It cannot be written, or its folder was removed.
        """
        stamps = []
        for file in self._files:
            os.fsync(file.fileno())
            stamps.append(_stamp(os.fstat(file.fileno())))
        tensors = [{**asdict(layout), "sums": sums} for layout, sums in zip(self.layouts, self._sums, strict=True)]
        write_facts(
            self._folder, {**record, "count": self.count, "chunk": CHUNK, "order": sys.byteorder, "tensors": tensors}
        )
        os.fsync(self._folder)
        return stamps

    def in_place(self) -> bool:
        """Whether the folder's path still names the folder that was made."""
        return is_at(self._folder, self.folder)

    def complete(self, facts: int) -> bool:
        """Whether the folder's path names just what was written here, of full size.

        Args:
            facts: A descriptor of the ``facts.json`` that the path names.
        """
        return (
            self.in_place()
            and os.path.samestat(os.fstat(facts), os.stat(FACTS, dir_fd=self._folder))
            and all(
                is_at(file.fileno(), tensor_path(self.folder, number))
                and os.fstat(file.fileno()).st_size == self.count * layout.nbytes
                for number, (file, layout) in enumerate(zip(self._files, self.layouts, strict=True))
            )
        )

    def close(self) -> None:
        """Closes the files."""
        for file in self._files:
            file.close()
        os.close(self._folder)

    def _write(self, number: int, content: memoryview) -> None:
        place, sums = self.done * self.layouts[number].nbytes, self._sums[number]
        while content:
            inside = place % CHUNK
            piece = content[: CHUNK - inside]
            written = self._files[number].write(piece) or 0
            # The disk may take a part of it only; the next call then tells why.
            if not inside:
                sums.append(0)
            sums[-1] = zlib.crc32(piece[:written], sums[-1])
            content, place = content[written:], place + written


def read_layouts(folder: Path, facts: Mapping[str, Any], count: int) -> tuple[list[Layout], list[list[int]]]:
    """What an entry's facts say of its tensors: their layouts and checksums.

    Raises:
        Unusable: It is not what is asked for, altered, or of another format.
    """
    record = read_facts(folder)
    if record["facts"] != facts or record["count"] != count:
        raise Unusable("it was made from something else")
    if record["order"] != sys.byteorder or record["chunk"] != CHUNK:
        raise Unusable("it was made on another kind of machine")
    layouts = [Layout(t["dtype"], tuple(t["shape"]), t["channels_last"]) for t in record["tensors"]]
    return layouts, [t["sums"] for t in record["tensors"]]


@dataclass(frozen=True, slots=True)
class Mapped:
    """A file's rows.

    Attributes:
        path: The file.
        laid: The rows as they lie, mapped read-only and shared: writing into them ends the process.
        stamp: The file's stamp when it was mapped.
        mapping: What is mapped; None for a file of no bytes.
    """

    path: Path
    laid: torch.Tensor
    stamp: Stamp
    mapping: mmap.mmap | None

    def cut_short(self) -> bool:
        """Whether the file has lost bytes since; takes half a microsecond."""
        return self.mapping is not None and self.mapping.size() < self.stamp[1]

    def changed(self) -> bool:
        """Whether the path names another file now, or the file was touched."""
        try:
            return _stamp(self.path.stat()) != self.stamp
        except OSError:
            return True


def map_tensor(path: Path, layout: Layout, count: int) -> Mapped:
    """Maps the rows in a file.

    Raises:
        Unusable: The file is not there or has another size.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size != count * layout.nbytes:
                raise Unusable(f"{path.name} has {status.st_size:,} bytes and not {count * layout.nbytes:,}")
            if not status.st_size:
                return Mapped(path, layout.empty(count), _stamp(status), None)
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)
    except OSError as error:
        raise Unusable(f"{path.name} cannot be read ({error.strerror})") from error
    with warnings.catch_warnings():
        # torch warns that it cannot keep anybody from writing; `Arrays` says so in its documentation.
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        flat = torch.frombuffer(mapped, dtype=layout.torch_dtype)
    return Mapped(path, flat.view(count, *layout.physical), _stamp(status), mapped)


def verify(laid: torch.Tensor, sums: Sequence[int], keep_going: Callable[[], bool]) -> bool:
    """Compares the bytes with their checksums; False if `keep_going`, asked once a chunk, said so.

    Raises:
        Unusable: They differ.
    """
    content = bytes_of(laid)
    if len(sums) != -(-len(content) // CHUNK):
        raise Unusable("checksums are missing")
    for number, wanted in enumerate(sums):
        if not keep_going():
            return False
        if zlib.crc32(content[number * CHUNK : (number + 1) * CHUNK]) != wanted:
            raise Unusable("its bytes are not those that were written")
    return True


def sync_folder(folder: Path) -> None:
    """Has the names in a folder on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tensor_path(folder: Path, number: int) -> Path:
    """Where an entry's n'th tensor lies."""
    return folder / f"{number}.bin"


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
