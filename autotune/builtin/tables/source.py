"""A table as a source of images."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import autotune
from autotune.builtin.tables.rows import Row, rows

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_TRIED = 100
_LISTED = 10


class TableSource(autotune.FileSource):
    """Image files that a table names, with their labels, sides and groups.

    The columns ``path`` and ``label`` are needed; ``split`` says train, val or test, or nothing; images of one
    ``group`` stay on one side. Paths are relative to the table's folder, and may be written as on Windows. Keys are
    these paths.

    Args:
        path: The table.
        max_pixels: A larger image is refused before it is decoded; by default as `autotune.read_image` says.

    Raises:
        DataError: There is no such file, it cannot be read, or it lacks columns.
    """

    def __init__(self, path: Path, *, max_pixels: int | None = None) -> None:
        super().__init__(path.parent, max_pixels=max_pixels)
        self.path = path
        next(rows(path), None)

    def items(self) -> Iterator[autotune.Item]:
        """Every image that the table names, in its order; one that it names twice alike, once.

        Raises:
            DataError: There are no rows; a row lacks a path or a label, has an unknown split, or says of an image other
                than a row before; none of the files is there.
        """
        seen: dict[str, tuple[str, autotune.Item]] = {}
        contradictions = []
        again = 0
        for row in rows(self.path):
            item = self._item(row)
            where, before = seen.setdefault(item.key, (row.where, item))
            if before is item:
                continue
            again += 1
            if before != item:
                contradictions.append(f"  {item.key}: {_told(before)} on {where}, {_told(item)} on {row.where}")
        if contradictions:
            more = [f"  ... and {len(contradictions) - _LISTED} more"] if len(contradictions) > _LISTED else []
            raise autotune.DataError(
                f"{self.path}: {_rows(len(contradictions), 'contradict')} an earlier row of the same image\n"
                + "\n".join([*contradictions[:_LISTED], *more]),
                hint="an image has one label, one split and one group: remove the rows that are wrong",
            )
        if not seen:
            raise autotune.DataError(f"{self.path}: no rows after the first", hint="give a row for each image")
        if again:
            warnings.warn(f"{self.path}: {_rows(again, 'repeat')} an earlier one; an image counts once", stacklevel=2)
        self._check_files([(where, item.key) for where, item in list(seen.values())[:_TRIED]])
        for _, item in seen.values():
            yield item

    def _item(self, row: Row) -> autotune.Item:
        place = f"{self.path}, {row.where}"
        for column, value in (("path", row.path), ("label", row.label)):
            if not value:
                raise autotune.DataError(f"{place}: no {column}", hint="fill it in, or remove the row")
        side = autotune.side_named(row.split) if row.split else None
        if row.split and side is None:
            raise autotune.DataError(
                f"{place}: the split {row.split!r} is unknown",
                hint="write train, val or test, or leave it empty and let autotune choose",
            )
        label = autotune.class_label(row.label, f"{place}: the label")
        return autotune.Item(key=self._key(row.path, place), label=label, group=row.group or None, side=side)

    def _key(self, path: str, place: str) -> str:
        """The path relative to the table's folder, in this system's way of writing."""
        if _ADDRESS.match(path):
            raise autotune.DataError(f"{place}: {path!r} is an address, not a file", hint="download the images first")
        if "\0" in path:
            raise autotune.DataError(f"{place}: the path {path!r} holds a zero character", hint="remove it")
        if "\\" in path and os.sep != "\\" and not os.path.lexists(self.root / path):
            if _DRIVE.match(path):
                raise autotune.DataError(
                    f"{place}: {path!r} is a path on a Windows machine",
                    hint="make the paths relative to the table's folder, e.g. cats/1.jpg",
                )
            path = path.replace("\\", "/")
        return os.path.normpath(path)

    def _check_files(self, first: Sequence[tuple[str, str]]) -> None:
        """Tells of paths that are relative to another folder; single missing files are broken images like others."""
        for _, key in first:
            if os.path.lexists(self.root / key):
                return
        where, key = first[0]
        raise autotune.DataError(
            f"{self.path}: none of the first {len(first)} files is there, e.g. {where}: {self.root / key}",
            hint=f"paths are relative to the table's folder, {self.root.resolve()}",
        )


def _rows(count: int, do: str) -> str:
    return f"1 row {do}s" if count == 1 else f"{count} rows {do}"


def _told(item: autotune.Item) -> str:
    parts = [repr(item.label), *([item.side] if item.side else []), *([f"group {item.group}"] if item.group else [])]
    return " ".join(parts)
