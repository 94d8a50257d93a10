"""What goes first when the cache is full, and what stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autotune.cache_entries import contents, entries, limit_of, make_room, read_facts, remove, sweep, write_facts
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
    assert sweep(cache) == 2500
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
    assert next((e.key, dict(e.facts)) for e in entries(cache)) == ("a", {"n": 0})
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
    """A second holder has to wait, in this process as in another; the file goes with the lock."""
    path = tmp_path / "key.lock"
    descriptor = lock(path)
    assert lock(path) is None
    unlock(path, descriptor)
    assert not path.exists()
    again = lock(path)
    path.unlink()
    other = lock(path)
    assert other is not None
    for held in (again, other):
        unlock(path, held)


def test_clearing_an_unknown_kind(cache):
    """The kinds that there are, are named."""
    from autotune.cache_entries import clear

    with pytest.raises(UnknownName, match="activations"):
        clear(cache, "pictures")
    assert clear(cache, "images") == 2 * SIZE
    assert keys(cache) == ["b"]
