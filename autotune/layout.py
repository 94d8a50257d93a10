"""What names say of labelled images: classes, sides, and the layout of class folders."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence

from autotune.data import Item, Side
from autotune.errors import DataError
from autotune.images import IMAGE_SUFFIXES

EXPECTED_FOLDERS = (
    "expected a folder for each class, as in DIR/cats/1.jpg and DIR/dogs/1.jpg, or these inside DIR/train, DIR/val "
    f"and DIR/test; files ending in {' '.join(sorted(IMAGE_SUFFIXES))}"
)

_SIDES: Mapping[str, Side] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def side_named(name: str) -> Side | None:
    """The side that a folder, or a word in a table, names in any case: train, val (valid, validation) or test."""
    return _SIDES.get(name.casefold())


def class_label(name: str, where: str) -> str:
    """The label that a name stands for, accents composed: macOS writes them as characters of their own.

    Args:
        name: Of a folder, or in a table.
        where: What an error says of the place, e.g. ``images: the folder name``.

    Raises:
        DataError: It is no text that can be printed on one line.
    """
    plain = _printable(name)
    if plain != name:
        raise DataError(
            f"{where} {plain!r} is not valid text", hint="rename it: class names are written into reports and models"
        )
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise DataError(
            f"{where} {name!r} holds a control character",
            hint="rename it: class names are written into reports, a line each",
        )
    return unicodedata.normalize("NFC", name)


def class_folders(paths: Sequence[str], place: str, *, kind: str = "folder", unwrap: bool = False) -> Iterator[Item]:
    """Every image in class folders with its class, and its side if the folders say it.

    Two layouts are known: ``CLASS/...``, and ``SIDE/CLASS/...`` with the sides ``train``, ``val`` (also ``valid``,
    ``validation``) and ``test``. Files may lie deeper within their class. Images beside the class folders are passed
    over with a warning.

    Args:
        paths: Of the image files, with ``/`` between the parts, relative to the place; they become the keys.
        place: For messages.
        kind: What the place is, for messages.
        unwrap: Whether a single folder around all others is passed over, as archives have it.

    Raises:
        DataError: No images, no class folders, one class only, a mixture of layouts.
    """
    if not paths:
        raise DataError(f"{place}: no images in this {kind}", hint=EXPECTED_FOLDERS)
    start = _wrapping(paths) if unwrap else 0
    tops = _tops(paths, start)
    if not tops:
        raise DataError(f"{place}: {len(paths)} images, but no class folders", hint=EXPECTED_FOLDERS)
    sides = _sides(tops, place, kind)
    depth = 2 if sides else 1
    loose = [path for path in paths if path.count("/", start) < depth]
    if loose:
        warnings.warn(
            f"{place}: {len(loose)} images are in no class folder and are passed over, e.g. {_printable(loose[0])}",
            stacklevel=2,
        )
    labels: dict[str, str] = {}
    for path in paths:
        parts = path[start:].split("/", depth)
        if len(parts) > depth:
            name = parts[depth - 1]
            label = labels.get(name) or labels.setdefault(name, class_label(name, f"{place}: the folder name"))
            yield Item(key=path, label=label, side=sides[parts[0]] if sides else None)


def is_image_path(path: str) -> bool:
    """Whether a path with ``/`` between its parts names an image by its suffix, and no part of it is hidden."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))
    return not hidden and os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def _tops(paths: Sequence[str], start: int) -> dict[str, set[str]]:
    """The folders with images, each with the folders in it that have some."""
    tops: dict[str, set[str]] = {}
    for path in paths:
        top, slash, below = path[start:].partition("/")
        if slash:
            inner, slash, _ = below.partition("/")
            tops.setdefault(top, set()).update((inner,) if slash else ())
    return tops


def _wrapping(paths: Sequence[str]) -> int:
    """The length of what stands before the class or side folders of every path."""
    start = 0
    while True:
        tops = _tops(paths, start)
        if len(tops) != 1:
            return start
        ((top, inner),) = tops.items()
        if not inner or side_named(top) or any("/" not in path[start:] for path in paths):
            return start
        start += len(top) + 1


def _sides(tops: Mapping[str, set[str]], place: str, kind: str) -> dict[str, Side]:
    """The side of each top folder, or nothing where top folders are classes."""
    sides = {name: side for name in sorted(tops) if (side := side_named(name)) is not None}
    others = sorted(set(tops) - set(sides))
    trains = [name for name, side in sides.items() if side == "train"]
    if others:
        if len(sides) > 1 and any(tops[name] for name in trains):
            raise DataError(
                f"{place}: {' and '.join(sides)} look like sides, but {others[0]!r} is beside them",
                hint=f"move {others[0]!r} away; the sides are train, val and test",
            )
        if len(tops) == 1:
            inside = kind == "folder" and tops[others[0]]
            hint = f"did you mean {os.path.join(place, others[0])}?" if inside else EXPECTED_FOLDERS
            raise DataError(f"{place}: one class only, {_printable(others[0])!r}", hint=hint)
        return {}
    if not trains:
        raise DataError(f"{place}: {' and '.join(sides)}, but no train folder", hint=EXPECTED_FOLDERS)
    for name in trains:
        if not tops[name]:
            raise DataError(f"{os.path.join(place, name)}: images, but no class folders", hint=EXPECTED_FOLDERS)
    return sides


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
