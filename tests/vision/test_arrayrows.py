"""What is open stays good, or says that it does not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from autotune.errors import BadData
from autotune.vision import ArrayCache, Arrays

COUNT = 1000
ROWS = torch.arange(COUNT * 100, dtype=torch.float32).view(COUNT, 100)


@pytest.fixture
def cache(tmp_path: Path) -> ArrayCache:
    """A cache in an empty folder."""
    return ArrayCache(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the entry lies."""
    return tmp_path / "arrays" / "activations" / "aa"


def get(cache: ArrayCache) -> Arrays:
    """The entry, made if it is not there."""

    def produce() -> Iterator[tuple[torch.Tensor, ...]]:
        yield from ((t,) for t in torch.split(ROWS, 64))

    found = cache.get("aa", {}, COUNT, produce, keep_going=lambda: True)
    assert found is not None
    return found


def cut(folder: Path) -> None:
    """Cuts the file short."""
    with (folder / "0.bin").open("r+b") as file:
        file.truncate(ROWS.nbytes // 2)


def overwrite(folder: Path) -> None:
    """Writes other bytes, as many."""
    with (folder / "0.bin").open("r+b") as file:
        file.write(b"\1" * 1000)


def replace(folder: Path) -> None:
    """Puts another file in its place."""
    shutil.copy(folder / "0.bin", folder / "new")
    (folder / "new").replace(folder / "0.bin")


def remove(folder: Path) -> None:
    """Removes the whole entry."""
    shutil.rmtree(folder)


@pytest.mark.parametrize("change", [cut, overwrite, replace, remove])
def test_a_change_while_in_use_is_noticed_and_mended(cache, folder, change):
    """`intact` says no, and `get` brings the right rows again; until then it said yes."""
    found = get(cache)
    assert found.intact()
    change(folder)
    assert not found.intact()
    again = get(cache)
    assert torch.equal(again.tensors[0], ROWS)
    assert again.intact()
    assert get(cache).note is None


@pytest.mark.parametrize("change", [replace, remove])
def test_rows_that_are_mapped_survive_a_removal(cache, folder, change):
    """Whoever reads goes on reading the rows that were verified, to the end of the epoch."""
    found = get(cache)
    change(folder)
    assert torch.equal(found.rows(torch.arange(COUNT))[0], ROWS)


def test_a_file_cut_short_within_an_epoch_is_a_failure_and_no_crash(cache, folder):
    """Reading beyond the end would end the process; the rows are refused with a reason instead."""
    found = get(cache)
    cut(folder)
    with pytest.raises(BadData, match="cut short while in use"):
        found.rows(torch.arange(10))


def test_what_is_in_memory_is_always_intact(tmp_path):
    """Rows in memory have no file that could change."""
    found = get(ArrayCache(tmp_path, limit=0))
    assert found.path is None
    assert found.intact()
    assert torch.equal(found.rows(torch.arange(COUNT))[0], ROWS)
