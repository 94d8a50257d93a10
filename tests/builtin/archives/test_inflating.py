"""Reading a gzip file from any place."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest

from autotune.builtin.archives import inflating
from autotune.builtin.archives.inflating import Inflated


@pytest.fixture
def whole() -> bytes:
    """Three megabytes that can be compressed in part."""
    return np.random.default_rng(0).integers(0, 64, 3_000_000, dtype=np.uint8).tobytes()


def test_any_part_can_be_read(tmp_path: Path, whole: bytes) -> None:
    """Forwards, backwards, across what is remembered, and over the end."""
    (tmp_path / "x.gz").write_bytes(gzip.compress(whole))
    file = Inflated(tmp_path / "x.gz")
    random = np.random.default_rng(1)
    places = [(0, 10), (2_999_990, 100), (0, 3_000_000), (3_000_000, 5), (5_000_000, 1), (1_048_570, 20)]
    places += [(int(random.integers(3_000_000)), int(random.integers(200_000))) for _ in range(50)]
    for start, size in places:
        assert file.read(start, size) == whole[start : start + size]


def test_a_read_starts_near_by(tmp_path: Path, whole: bytes) -> None:
    """Once the file has been gone through, the last byte costs no more than a megabyte of unpacking."""
    (tmp_path / "x.gz").write_bytes(gzip.compress(whole))
    file = Inflated(tmp_path / "x.gz")
    file.read(0, len(whole))
    starts = [point.start for point in file._points]
    assert len(starts) == 3
    assert max(np.diff([*starts, len(whole)])) <= inflating._SPACING + inflating._PIECE


def test_what_is_remembered_is_bounded(tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more places than are kept, every other is forgotten, and reading stays right."""
    monkeypatch.setattr(inflating, "_SPACING", 1 << 17)
    monkeypatch.setattr(inflating, "_MOST_POINTS", 4)
    (tmp_path / "x.gz").write_bytes(gzip.compress(whole))
    file = Inflated(tmp_path / "x.gz")
    file.read(0, len(whole))
    assert len(file._points) <= 4
    assert file.read(1_500_000, 1000) == whole[1_500_000:1_501_000]


def test_streams_may_follow_one_another(tmp_path: Path, whole: bytes) -> None:
    """As `cat a.gz b.gz` and parallel compressors write them, padded with zeros as on tapes."""
    parts = [whole[:1_000_000], b"", whole[1_000_000:]]
    (tmp_path / "x.gz").write_bytes(b"".join(map(gzip.compress, parts)) + bytes(1000))
    file = Inflated(tmp_path / "x.gz")
    assert file.read(0, 4_000_000) == whole
    assert file.read(999_990, 20) == whole[999_990:1_000_010]


def test_a_file_cut_short_is_an_error(tmp_path: Path, whole: bytes) -> None:
    """What was there before can be read; the end cannot."""
    content = gzip.compress(whole)
    (tmp_path / "x.gz").write_bytes(content[: len(content) // 2])
    file = Inflated(tmp_path / "x.gz")
    assert file.read(0, 1000) == whole[:1000]
    with pytest.raises(EOFError, match="cut short"):
        file.read(2_900_000, 1000)


def test_a_damaged_file_is_an_error(tmp_path: Path, whole: bytes) -> None:
    """Gzip's own sum tells."""
    content = bytearray(gzip.compress(whole))
    content[-6] ^= 0xFF
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(zlib.error, match="incorrect data check"):
        Inflated(tmp_path / "x.gz").read(0, 4_000_000)
