"""What goes first when the cache is full, and what stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.cache_entries import (
    clear,
    contents,
    entries,
    limit_of,
    make_room,
    read_facts,
    remove,
    sweep,
    write_facts,
)
from autotune.cache_locks import hold, lock, unlock
from autotune.errors import UnknownName

SIZE = 1000


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Entries a, b, c of about 1 kB, used in this order, of two kinds."""
    for number, (kind, key) in enumerate([("images", "a"), ("activations", "b"), ("images", "c")]):
        folder = tmp_path / "arrays" / kind / key
        folder.mkdir(parents=True)
        write_facts(folder, {"facts": {"n": number}})
        (folder / "0.bin").write_bytes(bytes(SIZE - (folder / "facts.json").stat().st_size))
        os.utime(folder / "facts.json", (1e9 + number, 1e9 + number))
    return tmp_path


def keys(cache: Path) -> list[str]:
    """What is there, the last used first."""
    return [entry.key for entry in entries(cache)]


def place(cache: Path, key: str) -> Path:
    """An entry's folder."""
    return next(entry.path for entry in entries(cache) if entry.key == key)


@pytest.mark.parametrize(
    ("nbytes", "limit", "left"),
    [(1000, 4000, "cba"), (1000, 3999, "cb"), (1000, 3000, "cb"), (1001, 3000, "c"), (3000, 3000, "")],
)
def test_the_longest_unused_goes_first(cache, nbytes, limit, left):
    """Of all kinds together, no more go than must, and the order is that of the last use."""
    assert make_room(cache, nbytes, limit) is None
    assert "".join(keys(cache)) == left


def test_a_use_protects(cache):
    """An entry that was used just now is the last to go."""
    os.utime(place(cache, "a") / "facts.json")
    assert make_room(cache, 1000, 2000) is None
    assert keys(cache) == ["a"]


def test_what_is_open_stays(cache):
    """Nothing that somebody has open goes, however long ago it was used; the next one goes instead."""
    descriptor = hold(place(cache, "a") / "facts.json")
    assert make_room(cache, 1000, 2000) is None
    assert keys(cache) == ["a"]
    assert make_room(cache, 1500, 2000) == "it takes 1.5 kB, and 1 kB of the 2 kB that the cache may have are in use"
    assert remove(cache / "arrays/images/a") is None
    os.close(descriptor)
    assert make_room(cache, 1500, 2000) is None
    assert keys(cache) == []


def test_what_is_being_written_counts_and_stays(cache):
    """A writer's announced size takes room, and its folder is not touched as long as it holds its lock."""
    part = cache / "arrays/images/d.part"
    part.mkdir()
    with (part / "0.bin").open("wb") as file:
        file.truncate(2500)
    descriptor = lock(part.with_suffix(".lock"))
    assert make_room(cache, 1000, 3000) is not None
    assert make_room(cache, 500, 3000) is None
    assert keys(cache) == []
    assert part.is_dir()
    unlock(part.with_suffix(".lock"), descriptor)
    assert sweep(cache).nbytes == 2500
    assert list((cache / "arrays/images").iterdir()) == []


def test_nothing_is_removed_in_vain(cache):
    """What can never fit removes nothing, and neither does what would fit only if open entries went as well."""
    descriptor = hold(place(cache, "c") / "facts.json")
    assert make_room(cache, 3500, 4000) is not None
    os.close(descriptor)
    assert keys(cache) == ["c", "b", "a"]
    assert make_room(cache, 4001, 4000) == "it takes 4 kB, and the cache may have 4 kB"
    assert keys(cache) == ["c", "b", "a"]


def test_what_cannot_be_read_goes_first(cache):
    """An entry whose facts are damaged or lost is listed without them and makes way before all others."""
    (place(cache, "c") / "facts.json").write_text("{}")
    (place(cache, "b") / "facts.json").unlink()
    assert next((e.key, dict(e.facts), e.problem) for e in entries(cache)) == ("a", {"n": 0}, None)
    problems = {e.key: e.problem for e in entries(cache)}
    assert problems["c"] == "damaged: facts.json is of another format"
    assert problems["b"].startswith("damaged: facts.json cannot be read ([Errno 2]")
    assert make_room(cache, 2000, 3100) is None
    assert keys(cache) == ["a"]


def test_limits(cache, tmp_path):
    """A tenth of what is free by default, what was asked for otherwise, and never quite the whole disk."""
    free = os.statvfs(cache).f_bavail * os.statvfs(cache).f_frsize
    assert limit_of(cache, None) == pytest.approx(free / 10, rel=0.02)
    assert limit_of(cache, 5) == 5
    assert limit_of(cache, 10**18) == pytest.approx(free * 0.95, rel=0.02)
    assert limit_of(tmp_path / "not" / "there", None) == pytest.approx(free / 10, rel=0.02)
    found = contents(cache)
    assert (found.path, found.nbytes, len(found.entries)) == (cache / "arrays", 3 * SIZE, 3)
    assert contents(tmp_path / "not" / "there").entries == ()


def test_facts_vouch_for_themselves(cache):
    """Facts are read back as they were written."""
    record = read_facts(place(cache, "b"))
    assert record["facts"] == {"n": 1}


def test_a_lock_is_held_once_and_leaves_no_file(tmp_path):
    """A second holder has to wait, in this process as in another; the file goes with the lock, and only with it."""
    path = tmp_path / "key.lock"
    descriptor = lock(path)
    assert lock(path) is None
    unlock(path, descriptor)
    assert not path.exists()
    again = lock(path)
    path.unlink()
    other = lock(path)
    assert other is not None
    unlock(path, again)
    assert path.exists()
    assert lock(path) is None, "two hold it at once"
    unlock(path, other)
    assert not path.exists()


def test_clearing_an_unknown_kind(cache):
    """The kinds that there are, are named."""
    with pytest.raises(UnknownName, match="activations"):
        clear(cache, "pictures")
    assert clear(cache, "images").nbytes == 2 * SIZE
    assert keys(cache) == ["b"]
    assert clear(cache, "images").nbytes == 0
    assert clear(cache).nbytes == SIZE
    assert clear(cache, "pictures").nbytes == 0


def test_facts_go_into_the_folder_that_was_opened(tmp_path):
    """A descriptor means its folder also after another one took the path, and a removed folder takes no facts."""
    folder, moved = tmp_path / "a", tmp_path / "b"
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    folder.rename(moved)
    folder.mkdir()
    write_facts(descriptor, {"facts": {}})
    assert read_facts(moved)["facts"] == {}
    assert list(folder.iterdir()) == []
    shutil.rmtree(moved)
    with pytest.raises(FileNotFoundError):
        write_facts(descriptor, {"facts": {}})
    os.close(descriptor)


AS_NOBODY = """
import json, os, sys
from pathlib import Path
from autotune.cache_entries import clear, entries, make_room, write_facts
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
cache = Path(sys.argv[1])
own = cache / "arrays/images/own"
own.mkdir()
write_facts(own, {"facts": {}})
said = make_room(cache, 10, 10**6)
full = make_room(cache, 10**6 - 10, 10**6)
own.mkdir(exist_ok=True)
write_facts(own, {"facts": {}})
problems = {e.key: e.problem for e in entries(cache)}
cleared = clear(cache)
print(json.dumps([said, full, problems, cleared.nbytes, [path.name for path in cleared.denied], own.exists()]))
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A cache folder that everybody may write into."""
    cache = Path("/tmp") / f"autotune-entries-{os.getpid()}"
    for folder in (cache, cache / "arrays", cache / "arrays/images"):
        folder.mkdir()
        folder.chmod(0o777)
    yield cache
    shutil.rmtree(cache)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("sticky", [False, True])
def test_a_cache_of_several_users(shared, sticky):
    """What another user locked, left, keeps or hides neither makes room impossible nor keeps one's own from going."""
    images = shared / "arrays/images"
    for name in ("theirs", "hidden", "dead.part", "old-0.gone", "damaged"):
        (images / name).mkdir()
        (images / name / "0.bin").write_bytes(bytes(100))
    for name in ("theirs", "hidden"):
        write_facts(images / name, {"facts": {}})
    (images / "hidden").chmod(0o700)
    (images / "private.lock").touch(mode=0o600)
    (images / "private.lock").chmod(0o600)
    (images / "left.lock").touch()
    building = lock(images / "theirs.lock")
    if sticky:
        for folder in (images, shared / "arrays", shared):
            folder.chmod(0o1777)
    before = {path.name for path in images.iterdir()} - {"left.lock"}
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, shared], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stderr
    said, full, problems, nbytes, denied, own = json.loads(done.stdout)
    assert said is None
    assert "are in use or somebody else's" in full
    assert problems["theirs"] is None
    assert problems["hidden"].startswith("may be read by its owner only: ")
    assert nbytes > 0
    assert not own
    assert {"theirs", "hidden", "dead.part", "old-0.gone", "damaged", "private.lock"} == set(denied)
    after = {path.name for path in images.iterdir()}
    assert after - {"left.lock"} == before
    assert ("left.lock" in after) == sticky
    assert lock(images / "theirs.lock") is None, "the builder's lock was taken from it"
    os.close(building)
    assert clear(shared).nbytes > 400
    assert list(images.iterdir()) == []
