"""What an index remembers of each image between calls, in one file of JSON lines for each place."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.checkpoint import write_atomically

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at an image told.

    Attributes:
        stamp: The source's stamp before the image was read; empty if the source gives none.
        id: Hash of the decoded pixels; empty for a broken image.
        height: In pixels.
        width: In pixels.
        grey: Whether its three channels are equal.
        reason: Why it cannot be decoded; None for a sound image.
    """

    stamp: str
    id: str = ""
    height: int = 0
    width: int = 0
    grey: bool = False
    reason: str | None = None


class IndexCache:
    """The looks at one place's images; a look is good while the image's stamp stays the same.

    Broken images are not kept, so that a repaired permission or disk shows at once. A file of another format, or a
    damaged one, counts as none.

    Args:
        folder: Where the files of all places are.
        location: The place; a path means the same place from every working directory.

    Attributes:
        decoded: Looks taken by this object and not found in the file.
    """

    def __init__(self, folder: Path, location: str) -> None:
        path = os.path.expanduser(location)
        place = os.path.realpath(path) if os.path.exists(path) else location
        digest = hashlib.blake2b(place.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        self.path = folder / "index" / f"{digest}.jsonl"
        self.decoded = 0
        self._place = place
        self._looks = self._read()
        self._read_keys = set(self._looks)

    def get(self, key: str, stamp: str) -> Look | None:
        """The look at an image of this stamp, if it is known."""
        look = self._looks.get(key)
        return look if look is not None and stamp and look.stamp == stamp else None

    def put(self, key: str, look: Look) -> None:
        """Takes note of a look, whether it came from here or is new."""
        if self._looks.get(key) is look:
            return
        self.decoded += 1
        if look.stamp and look.reason is None:
            self._looks[key] = look
        else:
            self._looks.pop(key, None)

    def write(self, keys: Collection[str]) -> None:
        """Keeps the looks at these keys, atomically; warns where the folder cannot be written."""
        kept = [(key, look) for key in keys if (look := self._looks.get(key)) is not None]
        if not self.decoded and self._read_keys == {key for key, _ in kept}:
            return
        rows = [[key, look.stamp, look.id, look.height, look.width, int(look.grey)] for key, look in kept]
        lines = [{"format": _FORMAT, "place": self._place}, *rows]
        content = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, content.encode("ascii"))
        except OSError as error:
            warnings.warn(f"the index of {self._place} cannot be kept in {self.path}: {error}", stacklevel=2)

    def _read(self) -> dict[str, Look]:
        try:
            with self.path.open(encoding="utf-8") as file:
                if json.loads(next(file, "null")) != {"format": _FORMAT, "place": self._place}:
                    return {}
                return dict(_parse(json.loads(line)) for line in file)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError) as error:
            warnings.warn(f"{self.path} cannot be used and is made anew: {error}", stacklevel=3)
            return {}


def _parse(row: Any) -> tuple[str, Look]:
    match row:
        case [str(key), str(stamp), str(id), int(height), int(width), int(grey)] if len(id) == 16:
            return key, Look(stamp=stamp, id=id, height=height, width=width, grey=bool(grey))
    raise ValueError(f"not a row of an index: {row!r}")
