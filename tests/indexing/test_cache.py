from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from autotune.indexing.cache import IndexCache, Look

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
    assert cache.get("a", "1") is not None
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


def test_a_look_with_a_perceptual_hash_serves_who_asks_for_one(tmp_path: Path) -> None:
    """One without is none for them, and 0 is a hash too."""
    cache = IndexCache(tmp_path, "place")
    for key, near in (("a", None), ("b", 0), ("c", 2**64 - 1)):
        cache.put(key, replace(LOOK, near=near))
    cache.write("abc")
    again = IndexCache(tmp_path, "place")
    assert again.get("a", "1") == LOOK
    assert again.get("a", "1", near=True) is None
    assert again.get("b", "1", near=True) == replace(LOOK, near=0)
    assert again.get("c", "1", near=True) == replace(LOOK, near=2**64 - 1)


@given(
    looks=st.dictionaries(
        st.text(st.characters(exclude_categories=())),
        st.builds(
            Look,
            stamp=st.text(min_size=1),
            id=st.from_regex("[0-9a-f]{16}", fullmatch=True),
            height=st.integers(1, 2**32 - 1),
            width=st.integers(1, 2**32 - 1),
            grey=st.booleans(),
            near=st.none() | st.integers(0, 2**64 - 1),
        ),
    )
)
@settings(max_examples=50, deadline=None)
def test_whatever_was_seen_comes_back(tmp_path_factory: pytest.TempPathFactory, looks: dict[str, Look]) -> None:
    """Keys of any characters, and numbers of any size that an image can have."""
    folder = tmp_path_factory.mktemp("cache")
    cache = IndexCache(folder, "place")
    for key, look in looks.items():
        cache.put(key, look)
    cache.write(looks)
    again = IndexCache(folder, "place")
    assert {key: again.get(key, look.stamp) for key, look in looks.items()} == looks
    assert all(again.get(key, look.stamp + "!") is None for key, look in looks.items())


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"{", b"[]\n", b'{"format":2}\n', b'{"format":2,"place":"place","images":1,"digest":""}\n123'],
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: bytes) -> None:
    """It is replaced by the next write."""
    path = written(tmp_path).path
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="cannot be used and is made anew"):
        assert IndexCache(tmp_path, "place").get("a", "1") is None
    path.write_bytes(b'{"format":1,"place":"place"}\n["x"]\n')
    written(tmp_path)
    assert IndexCache(tmp_path, "place").get("a", "1") == LOOK


def test_a_torn_file_counts_as_none(tmp_path: Path) -> None:
    """Half a record is no record, and one bit that is not as it was written makes all of them doubtful."""
    path = written(tmp_path).path
    whole = path.read_bytes()
    for content in (whole[:-9], whole[:-41], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(content)
        with pytest.warns(UserWarning, match="cannot be used"):
            assert IndexCache(tmp_path, "place").get("a", "1") is None


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    """An index that is not kept costs time, not the search."""
    (tmp_path / "index").write_text("in the way")
    with pytest.warns(UserWarning, match="the index of place cannot be kept"):
        written(tmp_path)
