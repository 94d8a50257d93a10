"""Where rows go when the disk is full, the limit is small, or the folder cannot be written."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from autotune.vision import ArrayCache, Arrays, NoRoom, arraybuild

COUNT = 1000
ROWS = torch.arange(COUNT * 250, dtype=torch.float32).view(COUNT, 250)
"""1 MB."""


def yes() -> bool:
    """Always goes on."""
    return True


def produce() -> Iterator[tuple[torch.Tensor, ...]]:
    """The rows in twenty batches."""
    yield from ((t,) for t in torch.split(ROWS, 50))


def get(cache: ArrayCache, source: Callable[[], Iterator[tuple[torch.Tensor, ...]]] = produce) -> Arrays:
    """The rows from a cache, wherever it keeps them."""
    found = cache.get("aa", {}, COUNT, source, keep_going=yes)
    assert found is not None
    assert torch.equal(found.tensors[0], ROWS)
    return found


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """What tests keep in memory goes with them."""
    yield
    arraybuild.in_memory.clear()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    gc.collect()
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up_in_the_middle(small_disk):
    """No space is left after some batches: those are read back, the rest stays in memory, and the disk is left."""

    def disturbed() -> Iterator[tuple[torch.Tensor, ...]]:
        for number, batch in enumerate(produce()):
            if number == 7:
                free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
                (small_disk / "other").write_bytes(bytes(free - 8192))
            yield batch

    found = get(ArrayCache(small_disk, limit=10**9), disturbed)
    assert found.path is None
    assert "No space left on device" in found.note
    assert "of 1,000 rows" in found.note
    assert [p.name for p in small_disk.rglob("*") if p.is_file()] == ["other"]


def test_a_small_disk_is_not_filled(small_disk):
    """What the disk has no room for is not begun there, even where the limit would allow it."""
    (small_disk / "other").write_bytes(bytes(1_500_000))
    found = get(ArrayCache(small_disk, limit=10**9))
    assert found.path is None
    assert "it takes 1 MB, and the cache may have" in found.note


def test_a_tenth_of_the_disk_is_the_default(small_disk):
    """Without a limit 1 MB does not fit a disk of 2 MB, and 0.2 MB does; what is there already counts as free."""
    cache = ArrayCache(small_disk)
    assert get(cache).path is None
    for key in ("aa", "bb"):
        tenth = cache.get(key, {}, 190, lambda: iter([(ROWS[:190],)]), keep_going=yes, kind="small")
        assert tenth.path is not None
        del tenth
        assert [e.key for e in cache.ls()] == [key]


def test_files_that_may_not_grow(tmp_path):
    """A limit on the size of files is met like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        found = get(ArrayCache(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert found.path is None
    assert "File too large" in found.note
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_limit_that_is_too_small(tmp_path):
    """The rows stay in memory; asked again, they are still there; another run with a larger limit keeps them."""
    cache = ArrayCache(tmp_path, limit=999_999)
    found = get(cache)
    assert found.note == "it takes 1 MB, and the cache may have 1000 kB"
    assert get(cache, lambda: iter(())) is found
    assert cache.find("aa", {}, COUNT) is found
    assert not cache.ls()
    arraybuild.in_memory.clear()
    assert get(ArrayCache(tmp_path, limit=1_000_000)).note is None


def test_a_folder_that_cannot_be_made(tmp_path):
    """A file where the folder should be: the rows stay in memory, and the note names the place."""
    (tmp_path / "file").write_text("")
    found = get(ArrayCache(tmp_path / "file"))
    assert found.path is None
    assert str(tmp_path / "file") in found.note
    assert "cannot be written (Not a directory)" in found.note


READ_ONLY = """
import os, sys, torch
from pathlib import Path
from autotune.vision import ArrayCache
os.setuid(65534)
rows = torch.arange(10.0)
made = lambda: iter([(rows,)])
old = ArrayCache(Path(sys.argv[1])).get("old", {}, 10, lambda: iter(()), keep_going=lambda: True)
assert old.path is not None and old.intact() and torch.equal(old.tensors[0], rows)
new = ArrayCache(Path(sys.argv[1])).get("new", {}, 10, made, keep_going=lambda: True)
assert torch.equal(new.tensors[0], rows)
print(new.note)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_elses_folder(tmp_path_factory, monkeypatch):
    """Entries of another user's cache are read; what is missing there stays in memory."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = Path("/tmp") / f"autotune-test-{os.getpid()}"
    folder.mkdir()
    try:
        ArrayCache(folder).get("old", {}, 10, lambda: iter([(torch.arange(10.0),)]), keep_going=yes)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, folder], capture_output=True, text=True, check=False, cwd="/"
        )
    finally:
        subprocess.run(["rm", "-r", folder], check=True)
    assert done.returncode == 0, done.stderr
    assert "cannot be written (Permission denied)" in done.stdout


def test_neither_disk_nor_memory(tmp_path, monkeypatch):
    """Beyond an eighth of the machine's memory there is no room, and the reason names both limits."""
    monkeypatch.setattr(arraybuild, "MEMORY_SHARE", arraybuild.memory_of_machine() // 900_000)
    with pytest.raises(NoRoom) as caught:
        get(ArrayCache(tmp_path, limit=100_000))
    assert "it takes 1 MB, and the cache may have 100 kB" in caught.value.message
    assert "in memory 1 MB do not fit either" in caught.value.message
    assert "--cache-size" in caught.value.hint
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_memory_makes_way_for_what_is_needed_now(tmp_path, monkeypatch):
    """Rows in memory that nobody uses any more go before there is no room; those in use stay."""
    monkeypatch.setattr(arraybuild, "MEMORY_SHARE", arraybuild.memory_of_machine() // 2_500_000)
    cache = ArrayCache(tmp_path, limit=0)
    used = cache.get("a", {}, COUNT, produce, keep_going=yes)
    cache.get("b", {}, COUNT, produce, keep_going=yes)
    cache.get("c", {}, COUNT, produce, keep_going=yes)
    assert cache.find("b", {}, COUNT) is None
    assert cache.find("c", {}, COUNT) is not None
    also = cache.get("c", {}, COUNT, produce, keep_going=yes)
    with pytest.raises(NoRoom):
        cache.get("d", {}, COUNT, produce, keep_going=yes)
    assert used.intact()
    assert also.intact()
