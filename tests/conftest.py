"""What every test may use."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Generator, Iterator

import pytest

# Tiny networks are slower with more threads than one; torch asks when it is loaded, here by autotune.testing.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import autotune
from autotune.testing import tiny_data


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the person's caches, and no setting of plugins leaks in."""
    monkeypatch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("AUTOTUNE_DISABLE_PLUGINS", raising=False)
    monkeypatch.delenv("AUTOTUNE_STRICT_PLUGINS", raising=False)


@pytest.fixture
def tiny() -> autotune.Data:
    """Tiny images of three classes, in memory."""
    return tiny_data()


@pytest.fixture
def disk() -> Iterator[Callable[[int | None], None]]:
    """Sets how many bytes a file may have, as a full disk would; None lifts it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before[0] if size is None else size, before[1]))

    yield limit
    limit(None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Lifts a limit on the size of files before the test is reported: the report may go to a file that is larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        return (yield)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
