"""Where rows go when the disk is full, the limit is small, or the folder cannot be written."""

from __future__ import annotations

import gc
import os
import resource
import shutil
import subprocess
import sys
import threading
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
    assert cache.find("aa", {}, COUNT, keep_going=yes) is found
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


SHARED = """
import os, sys, torch
from pathlib import Path
from autotune.vision import ArrayCache
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
for key in ("dead", "other"):
    made = lambda: iter([(torch.arange(10.0),)])
    found = ArrayCache(Path(sys.argv[1]), 10**9).get(key, {}, 10, made, keep_going=lambda: True)
    assert torch.equal(found.tensors[0], torch.arange(10.0))
    print(found.path, found.note, sep="; ")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_another_user_left_is_in_the_way_of_nothing_else(monkeypatch):
    """Beside another user's lock files and half-written entry all else goes to disk; that entry is kept in memory."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = Path("/tmp") / f"autotune-shared-{os.getpid()}"
    kind = folder / "arrays/activations"
    (kind / "dead.part").mkdir(parents=True)
    try:
        (kind / "dead.part/0.bin").write_bytes(bytes(100))
        for left in (folder / "arrays/.lock", kind / "dead.lock", kind / "third.lock"):
            left.touch()
        for place in (folder, folder / "arrays", kind):
            place.chmod(0o1777)
        done = subprocess.run(
            [sys.executable, "-c", SHARED, folder], capture_output=True, text=True, check=False, cwd=Path.cwd()
        )
        assert (kind / "dead.part/0.bin").exists()
    finally:
        shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"None; {kind} cannot be written (Permission denied)\n{kind / 'other'}; None\n"


def test_the_folder_is_emptied_while_two_build(tmp_path):
    """Neither takes the other's half-written rows for its own, and who came later keeps its lock and its entry."""
    half_a, half_b, done_a = threading.Event(), threading.Event(), threading.Event()
    found: dict[str, Arrays] = {}

    def build(name: str, half: threading.Event, other: threading.Event) -> None:
        def slowly() -> Iterator[tuple[torch.Tensor, ...]]:
            for number, batch in enumerate(produce()):
                if number == 10:
                    half.set()
                    assert other.wait(20)
                yield batch

        found[name] = get(ArrayCache(tmp_path, limit=10**9), slowly)

    first = threading.Thread(target=build, args=("a", half_a, half_b))
    second = threading.Thread(target=build, args=("b", half_b, done_a))
    first.start()
    assert half_a.wait(20)
    shutil.rmtree(tmp_path / "arrays")
    second.start()
    first.join(20)
    part = tmp_path / "arrays/activations/aa.part"
    assert sorted(p.name for p in part.iterdir()) == ["0.bin"]
    assert part.with_suffix(".lock").exists()
    done_a.set()
    second.join(20)
    assert found["a"].path is None
    assert (
        found["a"].note == f"{tmp_path}/arrays/activations/aa is not kept: it was removed or replaced while it was made"
    )
    assert (found["b"].path, found["b"].note) == (tmp_path / "arrays/activations/aa", None)
    assert found["b"].intact()
    assert [p.name for p in (tmp_path / "arrays/activations").iterdir()] == ["aa"]


def lose_lock(part: Path) -> None:
    """Removes the writer's lock file."""
    part.with_suffix(".lock").unlink()


def swap_file(part: Path) -> None:
    """Puts other bytes of the same size where the writer's are."""
    (part / "0.bin").unlink()
    (part / "0.bin").write_bytes(bytes(ROWS.nbytes))


def lose_folder(part: Path) -> None:
    """Removes the writer's folder."""
    shutil.rmtree(part)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lose_lock, "its lock file was removed"),
        (swap_file, "it was removed or replaced"),
        (lose_folder, "it was removed or replaced"),
    ],
)
def test_what_is_no_longer_ours_is_not_published(tmp_path, damage, told):
    """Without the lock, the files or the folder that a writer made, its rows stay in memory, and nothing on disk."""

    def disturbed() -> Iterator[tuple[torch.Tensor, ...]]:
        for number, batch in enumerate(produce()):
            if number == 10:
                damage(tmp_path / "arrays/activations/aa.part")
            yield batch

    found = get(ArrayCache(tmp_path, limit=10**9), disturbed)
    assert found.path is None
    assert f"aa is not kept: {told} while it was made" in found.note
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_another_file_comes_between_naming_and_mapping(tmp_path, monkeypatch):
    """Rows that are mapped are those that were written, else they stay in memory; the next process looks again."""

    def late(folder: Path) -> None:
        swap_file(folder / "aa")
        sync(folder)

    sync = arraybuild.sync_folder
    with monkeypatch.context() as patched:
        patched.setattr(arraybuild, "sync_folder", late)
        found = get(ArrayCache(tmp_path, limit=10**9))
    assert found.path is None
    assert "it was removed or replaced while it was made" in found.note
    arraybuild.in_memory.clear()
    again = get(ArrayCache(tmp_path, limit=10**9))
    assert again.path is not None
    assert "made anew" in again.note


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
    assert cache.find("b", {}, COUNT, keep_going=yes) is None
    assert cache.find("c", {}, COUNT, keep_going=yes) is not None
    also = cache.get("c", {}, COUNT, produce, keep_going=yes)
    with pytest.raises(NoRoom):
        cache.get("d", {}, COUNT, produce, keep_going=yes)
    assert used.intact()
    assert also.intact()


def test_memory_that_others_have_taken_is_left_to_them(tmp_path, monkeypatch):
    """An entry takes half of what is free on the machine at most; less than that and there is no room."""
    cache = ArrayCache(tmp_path, limit=0)
    monkeypatch.setattr(arraybuild, "memory_available", lambda: 2 * ROWS.nbytes)
    assert get(cache).path is None
    arraybuild.in_memory.clear()
    monkeypatch.setattr(arraybuild, "memory_available", lambda: 2 * ROWS.nbytes - 2)
    with pytest.raises(NoRoom, match="with what others have taken, 1000 kB may be used"):
        get(cache)


def test_others_who_take_memory_meanwhile_end_what_is_made_in_it(tmp_path, monkeypatch):
    """Several that begin at once all see memory free: who finds too little of it while filling stops."""
    free = [2 * ROWS.nbytes]
    monkeypatch.setattr(arraybuild, "memory_available", lambda: free[0])
    made = []

    def disturbed() -> Iterator[tuple[torch.Tensor, ...]]:
        for number, batch in enumerate(produce()):
            if number == 10:
                free[0] = ROWS.nbytes // 2
            made.append(number)
            yield batch

    with pytest.raises(NoRoom, match="with what others have taken"):
        get(ArrayCache(tmp_path, limit=0), disturbed)
    assert made == list(range(11))
    assert not arraybuild.in_memory


def test_what_made_way_in_memory_counts_as_free(tmp_path, monkeypatch):
    """The memory of rows that nobody uses serves the next ones, though freed memory stays with this process."""
    monkeypatch.setattr(arraybuild, "memory_available", lambda: ROWS.nbytes)
    cache = ArrayCache(tmp_path, limit=0)
    half = ROWS[: COUNT // 2]
    cache.get("old", {}, len(half), lambda: iter([(half,)]), keep_going=yes)
    new = cache.get("new", {}, 700, lambda: iter([(ROWS[:700],)]), keep_going=yes)
    assert new.path is None
    assert cache.find("old", {}, len(half), keep_going=yes) is None


@pytest.mark.parametrize("way", ["limit", "file", "full"])
def test_on_disk_or_not_at_all(tmp_path, request, way):
    """What is only for others is never kept in memory: not for want of room, nor of a folder, nor in the middle."""
    folder = request.getfixturevalue("small_disk") if way == "full" else tmp_path
    if way == "file":
        (folder / "file").write_text("")
        folder = folder / "file" / "cache"
    asked = []

    def counted() -> Iterator[tuple[torch.Tensor, ...]]:
        for number, batch in enumerate(produce()):
            asked.append(number)
            if way == "full" and number == 7:
                free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
                (folder / "other").write_bytes(bytes(free - 8192))
            yield batch

    cache = ArrayCache(folder, limit=0 if way == "limit" else 10**9)
    with pytest.raises(NoRoom):
        cache.get("aa", {}, COUNT, counted, keep_going=yes, disk_only=True)
    assert len(asked) < {"limit": 2, "file": 1, "full": 20}[way]
    assert not arraybuild.in_memory
    assert cache.find("aa", {}, COUNT, keep_going=yes) is None


def test_a_folder_that_cannot_be_made_has_no_more_room_than_its_disk(tmp_path):
    """How much may be kept is answered without making the folder."""
    (tmp_path / "file").write_text("")
    assert ArrayCache(tmp_path / "file" / "cache", limit=10).allowed() == 10
    assert ArrayCache(tmp_path / "new" / "cache", limit=10).allowed() == 10
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
