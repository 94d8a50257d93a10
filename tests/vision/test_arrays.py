"""Rows of tensors by key: found again as they were made, or made anew."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from autotune.vision import ArrayCache, Arrays, fingerprint
from autotune.vision.arraybuild import verified

COUNT = 100
BATCH = 32


class Source:
    """Batches of some tensors, and how often they were asked for."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        self.tensors = tensors
        self.asked = 0

    def __call__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """The rows in order, a batch at a time."""
        self.asked += 1
        for start in range(0, len(self.tensors[0]), BATCH):
            yield tuple(t[start : start + BATCH] for t in self.tensors)


@pytest.fixture
def cache(tmp_path: Path) -> ArrayCache:
    """A cache in an empty folder."""
    return ArrayCache(tmp_path)


def yes() -> bool:
    """Always goes on."""
    return True


def get(cache: ArrayCache, source: Source, facts: dict[str, object] | None = None, key: str = "aa") -> Arrays:
    """What the cache has for a key, verified as by a process that has not seen it yet."""
    verified.clear()
    found = cache.get(key, facts or {"view": 0}, len(source.tensors[0]), source, keep_going=yes)
    assert found is not None
    return found


def same_layout(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two batches have equal values and lie alike in memory."""
    return one.dtype == other.dtype and one.stride() == other.stride() and torch.equal(one, other)


TENSORS = {
    "float, channels_last": torch.randn(COUNT, 8, 3, 5).to(memory_format=torch.channels_last),
    "bfloat16, channels_last": torch.randn(COUNT, 8, 3, 5).bfloat16().to(memory_format=torch.channels_last),
    "float, contiguous": torch.randn(COUNT, 8, 3, 5),
    "bfloat16 tokens": torch.randn(COUNT, 7, 16).bfloat16(),
    "float16 vectors": torch.randn(COUNT, 33).half(),
    "images": torch.randint(0, 256, (COUNT, 3, 9, 9), dtype=torch.uint8),
    "images, channels_last": torch.randint(0, 256, (COUNT, 3, 9, 9), dtype=torch.uint8).to(
        memory_format=torch.channels_last
    ),
    "labels": torch.arange(COUNT),
    "marks": torch.arange(COUNT) % 3 == 0,
}


@pytest.mark.parametrize("tensor", TENSORS.values(), ids=TENSORS)
def test_rows_come_back_as_they_were(cache, tensor):
    """Values, dtype, shape and memory format of every kind of tensor survive, in whole and in chosen rows."""
    source = Source(tensor)
    get(cache, source)
    found = get(cache, source)
    assert source.asked == 1
    assert (len(found), found.nbytes, found.note) == (COUNT, tensor.nbytes, None)
    assert same_layout(found.tensors[0], tensor)
    chosen = torch.tensor([99, 0, 7, 7, 31, 32])
    (rows,) = found.rows(chosen)
    order = torch.channels_last if tensor.ndim == 4 and tensor.stride(1) == 1 else torch.contiguous_format
    assert same_layout(rows, tensor[chosen].contiguous(memory_format=order))
    rows.zero_()
    assert same_layout(found.tensors[0], tensor)


def test_a_boundary_of_several_tensors_stays_together(cache):
    """Everything that crosses lies under one key, each tensor in its own dtype and format."""
    source = Source(*TENSORS.values())
    found = get(cache, source)
    assert all(same_layout(a, b) for a, b in zip(found.tensors, source.tensors, strict=True))
    rows = found.rows(torch.tensor([5]))
    assert all(torch.equal(a, b[5:6]) for a, b in zip(rows, source.tensors, strict=True))
    with pytest.raises(IndexError):
        found.rows(torch.tensor([COUNT]))


def test_maps_of_one_pixel_count_as_channels_last(cache):
    """Where both formats fit, a float map comes back so that a convolution sees channels_last."""
    (found,) = get(cache, Source(torch.randn(COUNT, 8, 1, 1))).tensors
    assert found.stride() == (8, 1, 8, 8)


def truncate(folder: Path) -> None:
    """Cuts the last byte off."""
    with (folder / "0.bin").open("r+b") as file:
        file.truncate(COUNT * 40 - 1)


def lengthen(folder: Path) -> None:
    """Appends a byte."""
    with (folder / "0.bin").open("ab") as file:
        file.write(b"\0")


def alter(folder: Path) -> None:
    """Turns one bit in the middle."""
    with (folder / "0.bin").open("r+b") as file:
        file.seek(1234)
        byte = file.read(1)[0]
        file.seek(1234)
        file.write(bytes([byte ^ 1]))


def remove(folder: Path) -> None:
    """Removes the tensor."""
    (folder / "0.bin").unlink()


def edit(folder: Path, **changes: object) -> None:
    """Changes the facts without the checksum."""
    record = json.loads((folder / "facts.json").read_text())
    (folder / "facts.json").write_text(json.dumps({**record, **changes}))


def age(folder: Path) -> None:
    """Another version of the format."""
    edit(folder, format=0)


def disguise(folder: Path) -> None:
    """Facts that were edited by hand."""
    edit(folder, facts={"view": 1})


def empty(folder: Path) -> None:
    """Facts of a writer whose disk lost them."""
    (folder / "facts.json").write_bytes(b"")


DAMAGES = {f.__name__: f for f in (truncate, lengthen, alter, remove, age, disguise, empty)}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_made_anew(cache, tmp_path, damage):
    """Whatever happened to the files, what comes back is what was produced; the note says why it was made again."""
    tensor = torch.arange(COUNT * 10, dtype=torch.float32).view(COUNT, 10)
    source = Source(tensor)
    get(cache, source)
    damage(tmp_path / "arrays" / "activations" / "aa")
    found = get(cache, source)
    assert source.asked == 2
    assert torch.equal(found.tensors[0], tensor)
    assert "made anew" in found.note
    assert get(cache, source).note is None
    assert source.asked == 2


def test_other_facts_are_another_entry(cache):
    """A key that was made from something else, or for another number of rows, is made anew."""
    get(cache, Source(torch.zeros(COUNT, 2)))
    ones = get(cache, Source(torch.ones(COUNT, 2)), {"view": 1})
    assert ones.tensors[0].min() == 1
    more = get(cache, Source(torch.full((COUNT + 1, 2), 2.0)), {"view": 1})
    assert more.tensors[0].min() == 2


def test_an_entry_is_verified_once_by_each_process(cache):
    """The bytes are read once; then the files' stamps suffice."""
    source, asked = Source(torch.zeros(COUNT, 2)), []
    get(cache, source)
    for _ in range(2):
        assert cache.get("aa", {"view": 0}, COUNT, source, keep_going=lambda: asked.append(1) is None) is not None
    assert not asked
    verified.clear()
    cache.get("aa", {"view": 0}, COUNT, source, keep_going=lambda: asked.append(1) is None)
    assert asked
    assert source.asked == 1


def test_find_does_not_make(cache):
    """`find` opens what is there, verified, and makes nothing."""
    source = Source(torch.zeros(COUNT, 2))
    assert cache.find("aa", {"view": 0}, COUNT, keep_going=yes) is None
    get(cache, source)
    assert cache.find("aa", {"view": 0}, COUNT, keep_going=yes).intact()
    assert cache.find("aa", {"view": 1}, COUNT, keep_going=yes) is None


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_nothing_is_left_when_it_must_not_go_on(cache, tmp_path, asked):
    """A deadline at any batch ends it with None and without a trace."""
    answers = iter([True] * asked + [False] * 100)
    source = Source(torch.zeros(COUNT, 2))
    assert cache.get("aa", {}, COUNT, source, keep_going=lambda: next(answers)) is None
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_ctrl_c_leaves_nothing(cache, tmp_path):
    """An exception in the middle comes through, and nothing of the entry stays."""

    def interrupted() -> Iterator[tuple[torch.Tensor, ...]]:
        yield (torch.zeros(10, 2),)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get("aa", {}, COUNT, interrupted, keep_going=yes)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    ("tensors", "count", "told"),
    [
        ([torch.zeros(9, 2)], 10, "9 rows were produced, and 10 announced"),
        ([torch.zeros(9, 2), torch.zeros(2, 2)], 10, "more than the 10 rows"),
        ([torch.zeros(5, 2), torch.zeros(5, 3)], 10, "the first one had"),
        ([torch.zeros(5, 2), torch.zeros(5, 2).double()], 10, "the first one had"),
        ([], 10, "0 rows were produced"),
        ([], 0, "at least one row"),
    ],
)
def test_what_is_produced_is_what_was_announced(cache, tmp_path, tensors, count, told):
    """Too few rows, too many, or rows of several kinds are an error, and nothing is kept."""
    with pytest.raises(ValueError, match=told):
        cache.get("aa", {}, count, lambda: iter([(t,) for t in tensors]), keep_going=yes)
    assert not cache.ls()
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize("word", ["../aa", "", "a.b", "a/b"])
def test_a_key_is_no_path(cache, word):
    """A key or kind that would lead elsewhere is refused."""
    with pytest.raises(ValueError, match="is made of letters"):
        cache.get(word, {}, 1, Source(torch.zeros(1)), keep_going=yes)
    with pytest.raises(ValueError, match="is made of letters"):
        cache.get("aa", {}, 1, Source(torch.zeros(1)), keep_going=yes, kind=word)


def test_the_list_shows_kind_facts_and_the_last_use(cache):
    """Entries of all kinds, the last used first; a use is opening it, or asking whether it is intact."""
    source = Source(torch.zeros(COUNT, 10))
    first = get(cache, source, {"backbone": "timm/x"}, "aa")
    cache.get("bb", {}, COUNT, source, keep_going=yes, kind="images")
    assert [(e.key, e.kind, dict(e.facts)) for e in cache.ls()] == [
        ("bb", "images", {}),
        ("aa", "activations", {"backbone": "timm/x"}),
    ]
    assert 4000 <= cache.ls()[0].nbytes <= 5000
    time.sleep(0.02)  # the clock of files ticks every few milliseconds
    assert first.intact()
    assert [e.key for e in cache.ls()] == ["aa", "bb"]


def test_a_fingerprint_is_made_of_its_parts():
    """The same parts in any order are the same key; any other value is another one."""
    key = fingerprint(weights="ab", size=96, view=None)
    assert key == fingerprint(view=None, size=96, weights="ab")
    others = {fingerprint(weights="ab", size=96, view=v) for v in (0, 1, "0", [0], False)}
    assert len({key, *others}) == 6
    assert key.isalnum()
