"""Zip archives of class folders."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from autotune import DataError
from autotune.builtin.archives.source import ArchiveSource, Member

_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2})
_ENCRYPTED = 0x1
_UTF8 = 0x800


class ZipSource(ArchiveSource):
    """Image files in a zip archive, unpacked one by one when they are read.

    Args:
        path: The archive.

    Raises:
        DataError: There is no such file, it cannot be read, or it is no zip archive.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._lock = Lock()
        self._process = os.getpid()
        self._archive = self._opened()

    def members(self) -> Iterator[Member]:
        """Every file, as the archive's directory lists it.

        Raises:
            DataError: One is encrypted, or packed in a way that cannot be read.
        """
        for place, info in enumerate(self._archive.infolist()):
            if info.filename.endswith("/"):
                continue
            if info.flag_bits & _ENCRYPTED:
                raise DataError(f"{self.path}: {info.filename!r} is encrypted", hint="unpack it, and name the folder")
            if info.compress_type not in _METHODS:
                raise DataError(
                    f"{self.path}: {info.filename!r} is compressed by method {info.compress_type}, which is not read",
                    hint="unpack it, or pack it anew as an ordinary zip",
                )
            yield Member(
                name=_name(info),
                size=info.file_size,
                place=place,
                stamp=f"{info.CRC:08x}-{info.file_size}",
                link=stat.S_ISLNK(info.external_attr >> 16),
            )

    def unpacked(self, member: Member) -> bytes:
        """The bytes of a file, checked against the sum that the archive keeps."""
        archive = self._here()
        try:
            # As many bytes at most as the directory says, whatever the compressed ones unpack to.
            with archive.open(archive.infolist()[member.place]) as file:
                return file.read(member.size)
        except Exception as error:  # zipfile and the decompressors raise nearly anything on damaged bytes
            raise DataError(f"{self.path}: {member.name}: cannot be unpacked: {error}") from error

    def _here(self) -> zipfile.ZipFile:
        """The archive, opened by this process: a forked one would share its place in the file with its parent."""
        if self._process != os.getpid():
            with self._lock:
                if self._process != os.getpid():
                    self._archive = self._opened()
                    self._process = os.getpid()
        return self._archive

    def _opened(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except Exception as error:  # likewise
            raise self.damaged(error) from error


def _name(info: zipfile.ZipInfo) -> str:
    """The name; some programs write UTF-8 and do not say so, and then it reads as an old code page."""
    if info.flag_bits & _UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename
