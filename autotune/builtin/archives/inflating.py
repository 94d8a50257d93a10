"""Reading a gzip file from any place, without unpacking all of it.

What has been unpacked up to some places is remembered as the decompressor's state there, about 50 KB each, so that a
read begins at the nearest of them. Each thread goes on from where it stopped, so that reading in order costs what
unpacking once costs.
"""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from pathlib import Path
from threading import Lock, local
from typing import Any, NamedTuple

_PIECE = 1 << 16
_SPACING = 1 << 20
_MOST_POINTS = 1024
_BOMB_FROM = 1 << 30
_BOMB_RATIO = 200
_GZIP = 31
"""zlib's window bits for gzip's header and check sum."""


class Inflated:
    """A gzip file as if it were unpacked.

    Args:
        path: The file; several gzip streams may follow one another in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY)
        self._points = [_Point(0, 0, zlib.decompressobj(_GZIP))]
        self._spacing = _SPACING
        self._lock = Lock()
        self._mine = local()

    def __del__(self) -> None:
        if "_fd" in self.__dict__:
            os.close(self._fd)

    def read(self, start: int, size: int) -> bytes:
        """Bytes from `start` on, `size` of them or fewer at the end; from several threads at once.

        Raises:
            EOFError: The file is cut short.
            ValueError: It unpacks to more than 200 times its size.
            zlib.error: It is damaged.
        """
        cursor = self._cursor(start)
        parts = []
        while size > 0:
            if start >= cursor.start + len(cursor.piece):
                if not self._advance(cursor):
                    break
                continue
            part = cursor.piece[start - cursor.start : start - cursor.start + size]
            parts.append(part)
            start += len(part)
            size -= len(part)
        return b"".join(parts)

    def _cursor(self, start: int) -> _Cursor:
        """This thread's cursor if it stands between the nearest point and the start, else one from that point."""
        with self._lock:
            point = self._points[bisect_right(self._points, start, key=lambda point: point.start) - 1]
            cursor: _Cursor | None = getattr(self._mine, "cursor", None)
            if cursor is None or not point.start <= cursor.start <= start:
                cursor = self._mine.cursor = _Cursor(point.start, point.fed, point.engine.copy())
            return cursor

    def _advance(self, cursor: _Cursor) -> bool:
        """Unpacks the next piece; False at the end."""
        cursor.start += len(cursor.piece)
        cursor.piece = b""
        while not cursor.piece:
            if cursor.engine.eof and not self._next_stream(cursor):
                return False
            fed = cursor.engine.unconsumed_tail
            if not fed:
                fed = os.pread(self._fd, _PIECE, cursor.fed)
                cursor.fed += len(fed)
                if not fed:
                    raise EOFError("it is cut short")
            cursor.piece = cursor.engine.decompress(fed, _PIECE)
        end = cursor.start + len(cursor.piece)
        if end > _BOMB_FROM and end > _BOMB_RATIO * cursor.fed:
            raise ValueError(f"it unpacks to more than {_BOMB_RATIO} times its size, as a bomb does")
        if end >= self._points[-1].start + self._spacing and not cursor.engine.eof:
            self._remember(_Point(end, cursor.fed, cursor.engine.copy()))
        return True

    def _next_stream(self, cursor: _Cursor) -> bool:
        """Begins with the stream after one that has ended; False where only padding follows."""
        begin = cursor.fed - len(cursor.engine.unused_data)
        if not os.pread(self._fd, _PIECE, begin).strip(b"\0"):
            return False
        cursor.fed, cursor.engine = begin, zlib.decompressobj(_GZIP)
        return True

    def _remember(self, point: _Point) -> None:
        with self._lock:
            if point.start < self._points[-1].start + self._spacing:
                return
            self._points.append(point)
            if len(self._points) > _MOST_POINTS:
                self._points = self._points[::2]
                self._spacing *= 2


class _Point(NamedTuple):
    """The decompressor's state once `fed` bytes have gone in and `start` bytes have come out."""

    start: int
    fed: int
    engine: Any


class _Cursor:
    """One thread's place: the piece unpacked last, where it starts, and the decompressor after it."""

    def __init__(self, start: int, fed: int, engine: Any) -> None:
        self.start, self.fed, self.engine = start, fed, engine
        self.piece = b""
