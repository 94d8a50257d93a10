"""A small disk can be full, or read-only, and whole again."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from smalldisk import SmallDisk, unavailable

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
SIZE = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A small disk."""
    with SmallDisk(tmp_path / "disk", SIZE) as disk:
        yield disk


def test_it_is_full_until_it_is_freed(disk):
    """Not one more page fits; what others give up is taken too, when it is asked again."""
    (disk.place / "small").write_bytes(bytes(8192))
    disk.fill()
    with pytest.raises(OSError, match="No space left") as caught:
        (disk.place / "new").write_bytes(b"x")
    assert caught.value.errno == errno.ENOSPC
    (disk.place / "small").unlink()
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        (disk.place / "new").write_bytes(b"x")
    assert disk.hurt
    disk.free()
    assert not disk.hurt
    assert (disk.place / "new").write_bytes(bytes(SIZE // 2)) == SIZE // 2


def test_a_folder_is_read_only_for_a_while(disk):
    """Even while a process keeps a file there open for writing, as a search does with its lock."""
    folder = disk.place / "study"
    folder.mkdir()
    with (folder / "lock").open("w"):
        disk.freeze(folder)
        with pytest.raises(OSError, match="Read-only") as caught:
            (folder / "new").write_text("x")
        assert caught.value.errno == errno.EROFS
        assert (folder / "lock").exists(), "it can be read"
        (disk.place / "beside").write_text("x")
        disk.thaw()
    (folder / "new").write_text("x")
    assert not disk.hurt


def test_it_is_gone_afterwards(tmp_path):
    """Whatever state it was in."""
    with SmallDisk(tmp_path / "disk", SIZE) as disk:
        (disk.place / "study").mkdir()
        disk.fill()
        disk.freeze(disk.place / "study")
    assert not (tmp_path / "disk").exists()
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
