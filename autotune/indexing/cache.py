"""What an index remembers of each image between calls, in one file of records for each place."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autotune.checkpoint import write_atomically

_FORMAT = 2
_RECORD = np.dtype(
    [
        ("key", "<u8"),
        ("stamp", "<u8"),
        ("id", "<u8"),
        ("near", "<u8"),
        ("height", "<u4"),
        ("width", "<u4"),
        ("bits", "u1"),
    ]
)
_GREY, _NEAR, _FORGOTTEN = 1, 2, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at an image told.

    Attributes:
        stamp: The source's stamp before the image was read; empty if the source gives none.
        id: Hash of the decoded pixels; empty for a broken image.
        height: In pixels.
        width: In pixels.
        grey: Whether its three channels are equal.
        near: Perceptual hash, 64 bits; None where it was not asked for.
        reason: Why it cannot be decoded; None for a sound image.
    """

    stamp: str
    id: str = ""
    height: int = 0
    width: int = 0
    grey: bool = False
    near: int | None = None
    reason: str | None = None


class IndexCache:
    """The looks at one place's images; a look is good while the image's stamp stays the same.

    The file is a line of json and then 41 bytes an image: of keys and stamps it holds hashes, so that a million
    images take 41 MB of disk and no more of memory. Broken images are not kept, so that a repaired permission or disk
    shows at once. A file of another format, or a damaged one, counts as none.

    Args:
        folder: Where the files of all places are.
        location: The place; a path means the same place from every working directory.

    Attributes:
        decoded: Looks taken by this object and not found in the file.
    """

    def __init__(self, folder: Path, location: str) -> None:
        self._place = _place(location)
        self.path = folder / "index" / f"{place_digest(location)}.index"
        self.decoded = 0
        self._old = self._read()
        self._keys = self._old["key"].astype(np.uint64).data
        self._good: npt.NDArray[np.bool_] = np.ones(len(self._old), dtype=np.bool_)
        self._new = {name: array("Q") for name in _RECORD.names or ()}

    def get(self, key: str, stamp: str, *, near: bool = False) -> Look | None:
        """The look at an image of this stamp, if it is known.

        Args:
            key: The image's.
            stamp: As it is now.
            near: Whether a look without a perceptual hash is none.
        """
        row = self._row(_hashed(key)) if stamp else None
        if row is None:
            return None
        _, then, id, hashed, height, width, bits = self._old[row].tolist()
        if then != _hashed(stamp) or (near and not bits & _NEAR):
            return None
        return Look(
            stamp=stamp,
            id=f"{id:016x}",
            height=height,
            width=width,
            grey=bool(bits & _GREY),
            near=hashed if bits & _NEAR else None,
        )

    def put(self, key: str, look: Look) -> None:
        """Takes note of a look that is new."""
        self.decoded += 1
        hashed = _hashed(key)
        if (row := self._row(hashed)) is not None:
            self._good[row] = False
        forgotten = not look.stamp or look.reason is not None
        bits = _GREY * look.grey | _NEAR * (look.near is not None) | _FORGOTTEN * forgotten
        id = int(look.id or "0", 16)
        values = (hashed, _hashed(look.stamp), id, look.near or 0, look.height, look.width, bits)
        for column, value in zip(self._new.values(), values, strict=True):
            column.append(value)

    def write(self, keys: Iterable[str]) -> None:
        """Keeps the looks at these keys, atomically; warns where the folder cannot be written."""
        listed = np.fromiter(map(_hashed, keys), dtype=np.uint64)
        kept = self._old[self._good & np.isin(self._old["key"], listed)]
        if not self.decoded and len(kept) == len(self._old):
            return
        new = np.empty(len(self._new["key"]), dtype=_RECORD)
        for name, column in self._new.items():
            new[name] = np.frombuffer(column, dtype=np.uint64)
        _, last = np.unique(new["key"][::-1], return_index=True)
        new = new[len(new) - 1 - last]
        new = new[np.isin(new["key"], listed) & (new["bits"] & _FORGOTTEN == 0)]
        records = np.concatenate([kept, new])
        content = records[np.argsort(records["key"], kind="stable")].tobytes()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, json.dumps(self._head(content)).encode("ascii") + b"\n" + content)
        except OSError as error:
            warnings.warn(f"the index of {self._place} cannot be kept in {self.path}: {error}", stacklevel=2)

    def _row(self, hashed: int) -> int | None:
        """Where the file has a key."""
        row = bisect_left(self._keys, hashed)
        return row if row < len(self._keys) and self._keys[row] == hashed else None

    def _head(self, content: bytes) -> dict[str, Any]:
        digest = hashlib.blake2b(content, digest_size=8).hexdigest()
        return {"format": _FORMAT, "place": self._place, "images": len(content) // _RECORD.itemsize, "digest": digest}

    def _read(self) -> npt.NDArray[Any]:
        none = np.empty(0, dtype=_RECORD)
        try:
            line, _, content = self.path.read_bytes().partition(b"\n")
            head = json.loads(line)
            if (head["format"], head["place"]) != (_FORMAT, self._place):
                return none
            if len(content) % _RECORD.itemsize or head != self._head(content):
                raise ValueError("what it holds is not what was written")
            return np.frombuffer(content, dtype=_RECORD)
        except (FileNotFoundError, NotADirectoryError):
            return none
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{self.path} cannot be used and is made anew: {error}", stacklevel=3)
            return none


def place_digest(location: str) -> str:
    """Names a place in the cache folder: 16 hexadecimal digits."""
    return f"{_hashed(_place(location)):016x}"


def _place(location: str) -> str:
    path = os.path.expanduser(location)
    return os.path.realpath(path) if os.path.exists(path) else location


def _hashed(text: str) -> int:
    """64 bits of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
