"""Data source: class folders of image files."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import autotune

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_OF_A_FILE = re.compile(r"[^/\\.]\.[A-Za-z0-9]{1,8}/*$")


class FolderSource(autotune.FileSource):
    """Image files in class folders; the folders' names are the classes.

    Two layouts are known: ``DIR/CLASS/...``, and ``DIR/SIDE/CLASS/...`` with the sides ``train``, ``val`` (also
    ``valid``, ``validation``) and ``test``. Files may lie deeper within their class. Passed over are hidden files and
    folders, ``__MACOSX``, and what is not an image by its suffix. Links are followed, but never in a circle.

    Args:
        root: The folder.
        max_pixels: A larger image is refused before it is decoded; by default as `autotune.read_image` says.

    Raises:
        DataError: There is no such folder.
    """

    def __init__(self, root: Path, *, max_pixels: int | None = None) -> None:
        super().__init__(root, max_pixels=max_pixels)
        try:
            root.stat()
        except PermissionError as error:
            raise autotune.DataError(f"{root}: no permission to read it") from error
        except OSError as error:
            raise autotune.DataError(
                f"{root}: no such folder", hint=_near(root) or autotune.EXPECTED_FOLDERS
            ) from error
        if not root.is_dir():
            raise autotune.DataError(f"{root} is a file, not a folder of images", hint=autotune.EXPECTED_FOLDERS)

    def items(self) -> Iterator[autotune.Item]:
        """Every image file with its class, and its side if the folders say it, by path.

        Raises:
            DataError: No images, no class folders, one class only, a mixture of layouts, a folder that cannot be read.
        """
        yield from autotune.class_folders(list(_files(self.root)), str(self.root))


def _files(root: Path) -> Iterator[str]:
    """The image files below a folder, as paths relative to it, in order."""
    yield from _below(str(root), "", frozenset({_identity(root)}))


def _below(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    try:
        folders: set[str] = set()
        names: list[str] = []
        with os.scandir(folder) as entries:
            # Names only: a million entries with their paths would need several times the memory.
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                if _is_folder(entry):
                    folders.add(entry.name)
                    names.append(entry.name)
                elif _is_image(entry):
                    names.append(entry.name)
        names.sort()
        for name in names:
            if name not in folders:
                yield prefix + name
                continue
            path = os.path.join(folder, name)
            identity = _identity(path)
            if identity not in above:
                yield from _below(path, f"{prefix}{name}/", above | {identity})
    except PermissionError as error:
        raise autotune.DataError(f"{folder}: no permission to read this folder") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # A link's end has to be looked at; what else there is the listing itself says.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir(follow_symlinks=False)


def _is_image(entry: os.DirEntry[str]) -> bool:
    # A dead link counts, so that it is reported as broken; a pipe or a device does not.
    known = os.path.splitext(entry.name)[1].lower() in autotune.IMAGE_SUFFIXES
    return known and (entry.is_symlink() or entry.is_file(follow_symlinks=False))


def _identity(path: str | Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _near(path: Path) -> str | None:
    """Proposes the neighbours whose names are close to a path that does not exist."""
    try:
        names = [entry.name for entry in os.scandir(path.parent) if entry.is_dir()]
    except OSError:
        return f"there is no folder {path.parent} either" if not os.path.exists(path.parent) else None
    close = difflib.get_close_matches(path.name, names, n=3)
    return f"did you mean {' or '.join(_printable(str(path.parent / name)) for name in close)}?" if close else None


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def accepts(location: str) -> bool:
    """Whether a location is a folder's path: there is such a folder, or it is written like one.

    A path that ends like a file's is left to those who read such files.
    """
    path = os.path.expanduser(location)
    if os.path.isdir(path):
        return True
    ending = os.path.splitext(path)[1].lower()
    if ending not in autotune.IMAGE_SUFFIXES and _OF_A_FILE.search(path):
        return False
    if os.path.exists(path):
        return True
    return not _SCHEME.match(location) and (any(c in location for c in "/\\") or location.startswith(("~", ".")))


def open_folder(location: str) -> FolderSource:
    """Opens a folder by its path; ``~`` is the home folder."""
    return FolderSource(Path(os.path.expanduser(location)))


@autotune.hookimpl
def autotune_data_sources() -> Iterable[autotune.DataSourceSpec]:
    """Offers class folders."""
    return [
        autotune.DataSourceSpec(
            name="folders",
            summary="class folders of image files, e.g. images/ with images/cats/1.jpg; or images/train/cats/1.jpg",
            accepts=accepts,
            open=open_folder,
        )
    ]
