"""Data source: class folders of image files."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import autotune

EXPECTED = (
    "expected a folder for each class, as in DIR/cats/1.jpg and DIR/dogs/1.jpg, or these inside DIR/train, DIR/val "
    f"and DIR/test; files ending in {' '.join(sorted(autotune.IMAGE_SUFFIXES))}"
)

_SIDES: dict[str, autotune.Side] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


class FolderSource(autotune.DataSource):
    """Image files in class folders; the folders' names are the classes.

    Two layouts are known: ``DIR/CLASS/...``, and ``DIR/SIDE/CLASS/...`` with the sides ``train``, ``val`` (also
    ``valid``, ``validation``) and ``test``. Files may lie deeper within their class. Passed over are hidden files and
    folders, ``__MACOSX``, and what is not an image by its suffix. Links are followed, but never in a circle.

    Args:
        root: The folder.
        max_pixels: A larger image is refused before it is decoded.

    Raises:
        DataError: There is no such folder.
    """

    def __init__(self, root: Path, *, max_pixels: int = autotune.MAX_PIXELS) -> None:
        self.root = root
        self.max_pixels = max_pixels
        try:
            root.stat()
        except PermissionError as error:
            raise autotune.DataError(f"{root}: no permission to read it") from error
        except OSError as error:
            raise autotune.DataError(f"{root}: no such folder", hint=_near(root) or EXPECTED) from error
        if not root.is_dir():
            raise autotune.DataError(f"{root} is a file, not a folder of images", hint=EXPECTED)

    def items(self) -> Iterator[autotune.Item]:
        """Every image file with its class, and its side if the folders say it, by path.

        Raises:
            DataError: No images, no class folders, one class only, a mixture of layouts, a folder that cannot be read.
        """
        files = list(_files(self.root))
        if not files:
            raise autotune.DataError(f"{self.root}: no images in this folder", hint=EXPECTED)
        tops: dict[str, set[str]] = {}
        for path in files:
            top, slash, below = path.partition("/")
            if slash:
                inner, slash, _ = below.partition("/")
                tops.setdefault(top, set()).update((inner,) if slash else ())
        if not tops:
            raise autotune.DataError(f"{self.root}: {len(files)} images, but no class folders", hint=EXPECTED)
        sides = self._sides(tops)
        depth = 2 if sides else 1
        loose = [path for path in files if path.count("/") < depth]
        if loose:
            warnings.warn(
                f"{self.root}: {len(loose)} images are in no class folder and are passed over, e.g. "
                + _printable(loose[0]),
                stacklevel=2,
            )
        labels: dict[str, str] = {}
        for path in files:
            parts = path.split("/", depth)
            if len(parts) > depth:
                name = parts[depth - 1]
                label = labels.get(name) or labels.setdefault(name, self._label(name))
                yield autotune.Item(key=path, label=label, side=sides[parts[0]] if sides else None)

    def read(self, key: str) -> autotune.Image:
        """Decodes a file as `autotune.read_image` does."""
        return autotune.read_image(self.root / key, max_pixels=self.max_pixels)

    def stamp(self, key: str) -> str:
        """The file's size in bytes and its time of change in nanoseconds."""
        try:
            status = (self.root / key).stat()
        except OSError as error:
            raise autotune.DataError(f"{self.root / key}: {error.strerror}") from error
        return f"{status.st_size}-{status.st_mtime_ns}"

    def content(self, key: str) -> bytes:
        """The file's bytes."""
        try:
            return (self.root / key).read_bytes()
        except OSError as error:
            raise autotune.DataError(f"{self.root / key}: {error.strerror}") from error

    def _sides(self, tops: Mapping[str, set[str]]) -> dict[str, autotune.Side]:
        """The side of each top folder, or nothing where top folders are classes.

        Args:
            tops: The folders with images, each with the folders in it that have some.
        """
        sides = {name: _SIDES[name.casefold()] for name in sorted(tops) if name.casefold() in _SIDES}
        others = sorted(set(tops) - set(sides))
        trains = [name for name, side in sides.items() if side == "train"]
        if others:
            if len(sides) > 1 and any(tops[name] for name in trains):
                raise autotune.DataError(
                    f"{self.root}: {' and '.join(sides)} look like sides, but {others[0]!r} is beside them",
                    hint=f"move {others[0]!r} away; the sides are train, val and test",
                )
            if len(tops) == 1:
                hint = f"did you mean {self.root / others[0]}?" if tops[others[0]] else EXPECTED
                raise autotune.DataError(f"{self.root}: one class only, {_printable(others[0])!r}", hint=hint)
            return {}
        if not trains:
            raise autotune.DataError(f"{self.root}: {' and '.join(sides)}, but no train folder", hint=EXPECTED)
        for name in trains:
            if not tops[name]:
                raise autotune.DataError(f"{self.root / name}: images, but no class folders", hint=EXPECTED)
        return sides

    def _label(self, name: str) -> str:
        if _printable(name) != name:
            raise autotune.DataError(
                f"{self.root}: the folder name {_printable(name)!r} is not valid text",
                hint="rename it: class names are written into reports and models",
            )
        # macOS writes accents as characters of their own; the same word must be the same class on every side.
        return unicodedata.normalize("NFC", name)


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
    """Whether a location is a path: it exists, or it is written like one."""
    path = os.path.expanduser(location)
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
