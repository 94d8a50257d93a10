"""One idx file."""

from __future__ import annotations

import gzip
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest

import autotune
from autotune.builtin.idx import files
from autotune.builtin.idx.files import read_idx


def idx(values: np.ndarray) -> bytes:
    """The file that holds the values."""
    lengths = struct.pack(f">{values.ndim}I", *values.shape)
    return bytes([0, 0, 8, values.ndim]) + lengths + values.astype(np.uint8).tobytes()


VALUES = np.arange(2 * 3 * 4).reshape(2, 3, 4)


@pytest.mark.parametrize("zipped", [False, True])
def test_values_come_back(tmp_path: Path, zipped: bool) -> None:
    """Plain or zipped, whatever the file's ending; they are mapped, and cannot be written."""
    (tmp_path / "x").write_bytes(gzip.compress(idx(VALUES)) if zipped else idx(VALUES))
    found = read_idx(tmp_path / "x", axes=(3,))
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    assert (found == VALUES).all()


def test_what_is_unpacked_leaves_nothing_behind(tmp_path: Path) -> None:
    """The file that it is unpacked into has no name."""
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx(VALUES)))
    found = read_idx(tmp_path / "x.gz", axes=(3,))
    assert os.listdir(autotune.cache_folder()) == []
    assert found.sum() == VALUES.sum()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no idx file"),
        (b"hello", "is no idx file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "holds values of type 0x0d, not bytes (0x08)"),
        (b"\0\0\x08\x01\0\0\0\x01\0", "has 1 axes, not 3 or 4"),
        (b"\0\0\x08\x03\0\0\0\x01\0", "has 3 axes, not 3 or 4"),
        (idx(VALUES)[:-1], "says 2 x 3 x 4 values, and holds 23"),
        (idx(VALUES) + b"\0", "says 2 x 3 x 4 values, and holds 25"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "says 4294967295 x 4294967295 x 4294967295 values, and holds 0"),
        (b"\0\0\x08\x03" + bytes(12), "holds no values"),
        (idx(np.zeros((1, 2, 2, 4))), "has 4 values a pixel, not 3"),
        (b"\x1f\x8b", "cannot be read: "),
        (gzip.compress(idx(VALUES), mtime=0)[:-9], "cannot be read: Compressed file ended before"),
        (gzip.compress(idx(VALUES), mtime=0)[:-5] + b"\0\0\0\0\0", "cannot be read: "),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    """The file, what is wrong with it, and what to do."""
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(autotune.DataError, match=rf"/x: {re.escape(message)}.*\ncopy or download it again"):
        read_idx(tmp_path / "x", axes=(3, 4))


def test_a_bomb_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to 200 times its size is not unpacked to its end, and the disk is free again."""
    monkeypatch.setattr(files, "_BOMB_FROM", 2**20)
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(2**24)))
    with pytest.raises(autotune.DataError, match="unpacks to more than 200 times its size, as a bomb does"):
        read_idx(tmp_path / "x.gz", axes=(3,))
    assert os.listdir(autotune.cache_folder()) == []


def test_a_full_disk_is_told(tmp_path: Path, disk) -> None:
    """It is the cache folder that lacks room, and not the file that is damaged."""
    content = gzip.compress(np.random.default_rng(0).bytes(2**20))
    (tmp_path / "x.gz").write_bytes(content)
    disk(2**16)
    with pytest.raises(autotune.DataError, match=r"x\.gz: cannot be unpacked into .*\nmake room there, or name"):
        read_idx(tmp_path / "x.gz", axes=(3,))


def test_no_file_is_an_error(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(autotune.DataError, match="nowhere: no such file"):
        read_idx(tmp_path / "nowhere", axes=(1,))
