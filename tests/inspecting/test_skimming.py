"""Stage one on real files: what it finds, and how fast."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotune.builtin.folders import FolderSource
from autotune.data import Image as Pixels, Item
from autotune.errors import DataError, UsageError
from autotune.inspecting import skim
from autotune.testing.tiny import MemorySource, tiny_images


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(number: int, side: int = 8) -> bytes:
    """A grey PNG, different for each number."""
    rows = b"".join(b"\0" + struct.pack(">II", number, line).ljust(side, b"x")[:side] for line in range(side))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def folder(root: Path, count: int) -> FolderSource:
    """Class folders of so many small PNGs."""
    for i in range(count):
        path = root / f"c{i % 4}" / f"{i:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(i))
    return FolderSource(root)


def test_two_thousand_files_a_second(tmp_path: Path) -> None:
    """On a warm disk; with a machine to itself it makes ten times as many."""
    source = folder(tmp_path, 4000)
    found = [skim(source, location="x") for _ in range(3)]
    assert all(skimmed is not None and not skimmed.table.reasons for skimmed in found)
    assert min(skimmed.seconds for skimmed in found if skimmed is not None) <= 2.0


def test_what_it_tells(tmp_path: Path) -> None:
    """Sizes, bytes and hashes of the files; copies are equal."""
    source = folder(tmp_path, 8)
    (tmp_path / "c0" / "copy.png").write_bytes(png(0))
    told: list[tuple[int, int]] = []
    found = skim(source, location="x", progress=lambda done, total: told.append((done, total)))
    assert found is not None
    assert found.nbytes == sum(path.stat().st_size for path in tmp_path.rglob("*.png"))
    assert set(found.table.heights.tolist()) == set(found.table.widths.tolist()) == {8}
    assert [[found.table.keys[i] for i in same] for same in found.table.copies(found.table.sound())] == [
        ["c0/00000.png", "c0/copy.png"]
    ]
    assert told[-1] == (9, 9)


def test_copies_of_large_files_are_equal_in_every_byte(tmp_path: Path) -> None:
    """Two that differ in one byte, wherever it is, are no copies; two that do not are."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    for name, at in (("one", None), ("copy", None), ("early", 70), ("late", 230)):
        changed = pixels.copy()
        if at is not None:
            changed[at, 0] ^= 1
        path = tmp_path / "ab"[name == "copy"] / f"{name}.bmp"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(changed).save(path)
    found = skim(FolderSource(tmp_path), location="x")
    assert found is not None
    same = [{found.table.keys[i] for i in some} for some in found.table.copies(found.table.sound())]
    assert same == [{"a/one.bmp", "b/copy.bmp"}]


def test_nothing_is_decoded(tmp_path: Path) -> None:
    """Its source is never asked for pixels."""
    folder(tmp_path, 8)

    class Blind(FolderSource):
        def read(self, key: str) -> Pixels:
            raise AssertionError(key)

    found = skim(Blind(tmp_path), location="x")
    assert found is not None
    assert found.table.broken() == ()


def test_images_that_lie_in_no_files_are_left_to_decoding() -> None:
    """There is nothing to read of them."""
    images, labels = tiny_images()
    assert skim(MemorySource(list(images), list(map(str, labels))), location="x") is None


def test_the_limit_of_pixels_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the source, or by the environment, which must be a number."""
    source = folder(tmp_path, 8)
    source.max_pixels = 63
    found = skim(source, location="x")
    assert found is not None
    assert len(found.table.reasons) == 8
    assert found.table.reasons[0] == "c0/00000.png: 8x8 pixels, more than the limit of 63"
    source.max_pixels = None
    monkeypatch.setenv("AUTOTUNE_MAX_PIXELS", "many")
    with pytest.raises(UsageError, match="AUTOTUNE_MAX_PIXELS is 'many'"):
        skim(source, location="x")


def test_a_file_that_vanishes_meanwhile_is_broken(tmp_path: Path) -> None:
    """It is named, and the others are looked at."""
    source = folder(tmp_path, 8)

    class Vanishing(FolderSource):
        def items(self) -> list[Item]:  # type: ignore[override]
            found = list(super().items())
            (tmp_path / "c0" / "00000.png").unlink()
            return found

    found = skim(Vanishing(tmp_path), location="x")
    assert found is not None
    assert [key for key, _ in found.table.broken()] == ["c0/00000.png"]
    assert "No such file" in found.table.reasons[0]
    with pytest.raises(DataError):
        source.read("c0/00000.png")
