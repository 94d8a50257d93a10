"""Data source: zip and tar archives of class folders, read where they lie: nothing is unpacked to disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import autotune

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
OTHERS = (".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar")


def accepts(location: str) -> bool:
    """Whether a location ends like an archive and is no folder."""
    return location.lower().endswith(SUFFIXES + OTHERS) and not os.path.isdir(os.path.expanduser(location))


def open_archive(location: str) -> autotune.DataSource:
    """Opens an archive by its path; ``~`` is the home folder.

    Raises:
        DataError: There is no such file, or it is no archive that can be read piece by piece.
    """
    path = Path(os.path.expanduser(location))
    if path.name.lower().endswith(OTHERS):
        raise autotune.DataError(
            f"{path}: single images cannot be read from this kind of archive",
            hint=f"unpack it, or pack the class folders as {' '.join(SUFFIXES)}",
        )
    if path.name.lower().endswith(".zip"):
        from autotune.builtin.archives.zips import ZipSource

        return ZipSource(path)
    from autotune.builtin.archives.tars import TarSource

    return TarSource(path)


@autotune.hookimpl
def autotune_data_sources() -> Iterable[autotune.DataSourceSpec]:
    """Offers archives."""
    return [
        autotune.DataSourceSpec(
            name="archives",
            summary="class folders in an archive, read without unpacking it: images.zip, images.tar or images.tar.gz",
            accepts=accepts,
            open=open_archive,
        )
    ]
