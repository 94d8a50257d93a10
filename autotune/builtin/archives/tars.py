"""Tar archives of class folders, plain or compressed by gzip."""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from autotune import DataError
from autotune.builtin.archives.inflating import Inflated
from autotune.builtin.archives.source import ArchiveSource, Member

_BLOCK = 512
_LONGEST_HEADER = 1 << 20


class TarSource(ArchiveSource):
    """Image files in a tar archive, read from where they lie in it.

    A file that tar has stored as a hard link to an earlier one is that one's copy.

    Args:
        path: The archive.

    Raises:
        DataError: There is no such file, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._bytes  # noqa: B018 - opens it, so that what is no archive is told at once

    def members(self) -> Iterator[Member]:
        """Every file, by one pass through the archive.

        Raises:
            DataError: It is damaged, or cut short.
        """
        stored: dict[str, Member] = {}
        try:
            with tarfile.open(fileobj=cast(BinaryIO, _Stream(self._bytes)), mode="r:") as archive:
                while (info := archive.next()) is not None:
                    cast(Any, archive).members.clear()  # it would keep them all
                    if info.issparse():
                        raise DataError(
                            f"{self.path}: {info.name!r} is stored with holes", hint="pack it without --sparse"
                        )
                    target = stored.get(info.linkname) if info.islnk() else None
                    if info.isreg() or target is not None:
                        place, size = (target.place, target.size) if target else (info.offset_data, info.size)
                        member = Member(info.name, size, place, f"{self.changed}-{place}")
                        stored[info.name] = member
                        yield member
                    elif info.issym() or info.islnk():
                        yield Member(info.name, 0, 0, "", link=True)
                # At a header that it cannot read tarfile stops as if that were the end.
                if any(self._bytes.read(archive.offset, _BLOCK)):
                    raise tarfile.ReadError(f"what stands at byte {archive.offset:,} is no file's header")
        except DataError:
            raise
        except Exception as error:  # tarfile and zlib raise nearly anything on damaged bytes
            raise self.damaged(error) from error

    def unpacked(self, member: Member) -> bytes:
        """The bytes of a file."""
        try:
            status = self.path.stat()
            content = self._bytes.read(member.place, member.size)
        except (EOFError, OSError, ValueError, zlib.error) as error:
            raise DataError(f"{self.path}: {member.name}: cannot be unpacked: {error}") from error
        if f"{status.st_size}-{status.st_mtime_ns}" != self.changed:
            raise DataError(f"{self.path}: the archive has changed since it was opened", hint="begin again")
        if len(content) < member.size:
            raise DataError(f"{self.path}: {member.name}: the archive is cut short")
        return content

    @cached_property
    def _bytes(self) -> _Bytes:
        try:
            with self.path.open("rb") as file:
                zipped = file.read(2) == b"\x1f\x8b"
            return Inflated(self.path) if zipped else _Plain(self.path)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror}") from error


class _Bytes(Protocol):
    def read(self, start: int, size: int) -> bytes: ...


class _Plain:
    """A file's bytes, from several threads and processes at once."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if "_fd" in self.__dict__:
            os.close(self._fd)

    def read(self, start: int, size: int) -> bytes:
        parts = []
        while size > 0 and (part := os.pread(self._fd, size, start)):
            parts.append(part)
            start += len(part)
            size -= len(part)
        return b"".join(parts)


class _Stream(io.RawIOBase):
    """Bytes as tarfile wants them: from front to back, so that what it is told cannot make it go in a circle."""

    def __init__(self, source: _Bytes) -> None:
        self._source, self._place = source, 0

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or place < self._place:
            raise tarfile.ReadError(f"a header leads back from byte {self._place:,}")
        self._place = place
        return place

    def tell(self) -> int:
        return self._place

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header at byte {self._place:,} claims a length of {size:,} bytes")
        found = self._source.read(self._place, size)
        self._place += len(found)
        return found
