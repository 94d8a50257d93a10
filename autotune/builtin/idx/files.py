"""One idx file: two zero bytes, the type of the values, the number of axes, the length of each axis, the values.

http://yann.lecun.com/exdb/mnist describes the format.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from autotune import DataError, cache_folder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_BYTES = 8
_PIECE = 1 << 20
_BOMB_FROM = 1 << 30
_BOMB_RATIO = 200


def read_idx(path: Path, axes: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Maps an idx file of bytes, uint8 with the shape that it says.

    Args:
        path: The file, plain or zipped by gzip.
        axes: How many axes it may have.

    Raises:
        DataError: It cannot be read, is damaged, or holds something else.
    """
    import numpy as np

    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with _unzipped(path) if zipped else path.open("rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0":
                raise _wrong(path, "is no idx file")
            if head[2] != _BYTES:
                raise _wrong(path, f"holds values of type {head[2]:#04x}, not bytes (0x08)")
            lengths = file.read(4 * head[3])
            if head[3] not in axes or len(lengths) != 4 * head[3]:
                expected = " or ".join(map(str, axes))
                raise _wrong(path, f"has {head[3]} axes, not {expected}")
            shape = tuple(int(n) for n in np.frombuffer(lengths, dtype=">u4"))
            start, size = file.tell(), file.seek(0, os.SEEK_END)
            count = 1
            for length in shape:
                count *= length
            if size - start != count:
                raise _wrong(path, f"says {' x '.join(map(str, shape))} values, and holds {size - start:,}")
            if len(shape) == 4 and shape[3] != 3:
                raise _wrong(path, f"has {shape[3]} values a pixel, not 3")
            if count == 0:
                raise _wrong(path, "holds no values")
            return np.memmap(file, dtype=np.uint8, mode="r", offset=start, shape=shape)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read it") from error
    except (OSError, EOFError, zlib.error) as error:
        raise _wrong(path, f"cannot be read: {error}") from error


def _unzipped(path: Path) -> BinaryIO:
    """What a gzip file unpacks to, in a file without a name that vanishes with its last use."""
    folder = cache_folder()
    most = max(_BOMB_FROM, _BOMB_RATIO * path.stat().st_size)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - whoever asked closes it
        try:
            with gzip.open(path) as source:
                while piece := source.read(_PIECE):
                    file.write(piece)
                    if file.tell() > most:
                        raise _wrong(path, f"unpacks to more than {_BOMB_RATIO} times its size, as a bomb does")
            file.seek(0)
        except BaseException:
            file.close()
            raise
    except gzip.BadGzipFile:
        raise
    except OSError as error:
        raise DataError(
            f"{path}: cannot be unpacked into {folder}: {error.strerror or error}",
            hint="make room there, or name another folder: AUTOTUNE_CACHE_DIR",
        ) from error
    return file


def _wrong(path: Path, what: str) -> DataError:
    return DataError(f"{path}: {what}", hint="copy or download it again")
