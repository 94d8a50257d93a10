"""What zip and tar archives have in common as sources of images."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import autotune

MOST_BYTES = 2**29
"""An image file that unpacks to more is refused before it is unpacked: no photo is as large, but a bomb is."""
_REPACK = "pack the class folders themselves: cd DIR && zip -r ../images.zip ."


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive.

    Attributes:
        name: Its path as the archive gives it.
        size: Unpacked, in bytes.
        place: Where the archive finds it.
        stamp: Changes when its bytes change.
        link: Whether it is a link to another file instead of a file.
    """

    name: str
    size: int
    place: int
    stamp: str
    link: bool = False


class ArchiveSource(autotune.DataSource):
    """Class folders in an archive; a single folder around all of them is passed over.

    Paths are only names here, for nothing is unpacked; those that lead out of the archive are refused all the same,
    since they say that it was made by mistake or with bad intent. Links are passed over.

    Args:
        path: The archive.

    Raises:
        DataError: There is no such file, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb"):
                self.changed = f"{path.stat().st_size}-{path.stat().st_mtime_ns}"
        except FileNotFoundError as error:
            raise autotune.DataError(f"{path}: no such file", hint="give the path of an archive") from error
        except PermissionError as error:
            raise autotune.DataError(f"{path}: no permission to read it") from error
        except OSError as error:
            raise autotune.DataError(f"{path}: cannot be read: {error.strerror}") from error

    @abstractmethod
    def members(self) -> Iterator[Member]:
        """Every file in the archive, in its order.

        Raises:
            DataError: It is damaged.
        """

    @abstractmethod
    def unpacked(self, member: Member) -> bytes:
        """The bytes of a file; called from several threads at once.

        Raises:
            DataError: They are damaged.
        """

    def items(self) -> Iterator[autotune.Item]:
        """Every image file with its class, and its side if the folders say it, in the archive's order.

        Raises:
            DataError: No images, no class folders, one class only, a mixture of layouts, a damaged archive, a name that
                leads out of it.
        """
        yield from autotune.class_folders(list(self._images), str(self.path), kind="archive", unwrap=True)

    def content(self, key: str) -> bytes:
        """The bytes of an image file."""
        return self.unpacked(self._member(key))

    def read(self, key: str) -> autotune.Image:
        """Decodes an image file as `autotune.read_image` does."""
        return autotune.decode_image(self.content(key), f"{self.path}: {key}")

    def stamp(self, key: str) -> str:
        """What the archive says of the file's bytes."""
        return self._member(key).stamp

    def notes(self) -> Sequence[str]:
        """That colour profiles are ignored."""
        return (autotune.PROFILES_NOTE,)

    def damaged(self, why: object) -> autotune.DataError:
        """The error for an archive that cannot be read."""
        return autotune.DataError(f"{self.path}: the archive is damaged: {why}", hint="copy or download it again")

    def _member(self, key: str) -> Member:
        member = self._images.get(key)
        if member is None:
            raise autotune.DataError(f"{self.path}: there is no image {key!r} in it")
        if member.size > MOST_BYTES:
            raise autotune.DataError(
                f"{self.path}: {key}: unpacks to {member.size:,} bytes, more than the limit of {MOST_BYTES:,}",
                hint="it is no photo; remove it from the archive",
            )
        return member

    @cached_property
    def _images(self) -> dict[str, Member]:
        """The image files by their paths, in the archive's order; of two of one path, the later."""
        found: dict[str, Member] = {}
        links = []
        for member in self.members():
            path = self._path(member.name)
            if not autotune.is_image_path(path):
                continue
            if member.link:
                links.append(path)
                continue
            found[path] = member
        if links:
            warnings.warn(
                f"{self.path}: {len(links)} links are passed over, e.g. {links[0]!r}: what they lead to is not read",
                stacklevel=2,
            )
        return found

    def _path(self, name: str) -> str:
        """A name as a path with ``/`` between its parts, as written on Windows too."""
        plain = name.replace("\\", "/")
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        if ".." in parts or plain.startswith("/") or (parts and parts[0].endswith(":")):
            raise autotune.DataError(f"{self.path}: the name {name!r} leads out of the archive", hint=_REPACK)
        return "/".join(parts)
