from __future__ import annotations

from pathlib import Path

import pytest

from autotune.index_cache import IndexCache, Look

LOOK = Look(stamp="1", id="0123456789abcdef", height=2, width=3, grey=True)


def written(folder: Path, location: str = "place") -> IndexCache:
    """A cache with one look in it."""
    cache = IndexCache(folder, location)
    cache.put("a", LOOK)
    cache.write(["a"])
    return cache


def test_a_look_comes_back(tmp_path: Path) -> None:
    """With the same stamp, from the same place, and only then."""
    written(tmp_path)
    cache = IndexCache(tmp_path, "place")
    assert cache.get("a", "1") == LOOK
    assert cache.get("a", "2") is None
    assert cache.get("b", "1") is None
    assert IndexCache(tmp_path, "elsewhere").get("a", "1") is None


def test_what_is_no_longer_listed_is_forgotten(tmp_path: Path) -> None:
    """The file does not grow for ever."""
    cache = written(tmp_path)
    cache.put("b", LOOK)
    cache.write(["b"])
    assert IndexCache(tmp_path, "place").get("a", "1") is None
    assert IndexCache(tmp_path, "place").get("b", "1") == LOOK


def test_a_file_that_says_the_same_is_not_written_again(tmp_path: Path) -> None:
    """A second call with nothing new leaves the file alone."""
    path = written(tmp_path).path
    before = path.stat().st_mtime_ns, path.stat().st_ino
    cache = IndexCache(tmp_path, "place")
    look = cache.get("a", "1")
    assert look is not None
    cache.put("a", look)
    cache.write(["a"])
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert cache.decoded == 0


def test_broken_and_unstamped_images_are_not_kept(tmp_path: Path) -> None:
    """They are looked at again each time; an older look at them is forgotten."""
    cache = written(tmp_path)
    cache.put("a", Look(stamp="", reason="broken"))
    cache.put("b", Look(stamp="", id=LOOK.id))
    cache.write(["a", "b"])
    again = IndexCache(tmp_path, "place")
    assert again.get("a", "1") is None
    assert again.get("b", "") is None


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"{", b'["a","1","0123456789abcdef",2,3,true]\n', b'{"format":1,"place":"place"}\n["a",1]\n'],
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: bytes) -> None:
    """It is replaced by the next write."""
    path = written(tmp_path).path
    path.write_bytes(content)
    if content.startswith(b"["):
        assert IndexCache(tmp_path, "place").get("a", "1") is None
    else:
        with pytest.warns(UserWarning, match="cannot be used and is made anew"):
            assert IndexCache(tmp_path, "place").get("a", "1") is None
    path.write_bytes(b'{"format":2}\n["x"]\n')
    written(tmp_path)
    assert IndexCache(tmp_path, "place").get("a", "1") == LOOK


def test_a_torn_file_counts_as_none(tmp_path: Path) -> None:
    """Half a line is no line."""
    path = written(tmp_path).path
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="cannot be used"):
        assert IndexCache(tmp_path, "place").get("a", "1") is None


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    """An index that is not kept costs time, not the search."""
    (tmp_path / "index").write_text("in the way")
    with pytest.warns(UserWarning, match="the index of place cannot be kept"):
        written(tmp_path)
