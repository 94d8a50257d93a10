"""What is open stays good, or says that it does not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

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


@pytest.mark.parametrize("change", [cut, overwrite, replace, remove])
def test_rows_of_what_changed_are_refused(cache, folder, change):
    """There are none of files that changed, cut short or not; reading beyond an end would end the process."""
    found = get(cache)
    assert torch.equal(found.rows(torch.arange(COUNT))[0], ROWS)
    change(folder)
    assert found.rows(torch.tensor([0, COUNT - 1])) is None


@pytest.mark.parametrize("change", [overwrite, replace, remove])
def test_rows_that_change_as_they_are_copied_are_refused(cache, folder, change, sudden):
    """What was still good when the copying began is looked at again when it is done."""
    found = get(cache)
    assert found.rows(sudden(torch.arange(COUNT), lambda: change(folder))) is None


@pytest.mark.parametrize("change", [replace, remove])
def test_what_is_mapped_survives_a_removal(cache, folder, change):
    """Whoever is in the middle of a copy reads the rows that were verified."""
    found = get(cache)
    change(folder)
    assert torch.equal(found.tensors[0], ROWS)


def test_what_is_in_memory_is_always_intact(tmp_path):
    """Rows in memory have no file that could change."""
    found = get(ArrayCache(tmp_path, limit=0))
    assert found.path is None
    assert found.intact()
    assert torch.equal(found.rows(torch.arange(COUNT))[0], ROWS)
