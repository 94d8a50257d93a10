"""Damaged files are read or refused, and nothing else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from autotune.plugins import load_plugins


def loaded() -> ModuleType:
    """The script beside this file."""
    spec = importlib.util.spec_from_file_location("fuzz_readers", Path(__file__).with_name("readers.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


readers = loaded()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Sound places of every kind."""
    return readers.Folder(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("kind", sorted(readers.KINDS))
def test_whole_files_are_read(folder, kind: str) -> None:
    """Undamaged, every file of every kind is read: what is refused below is refused for its damage."""
    for content in readers.KINDS[kind][1]:
        assert folder.read(kind, content, load_plugins()) == "read"


@pytest.mark.parametrize("kind", sorted(readers.KINDS))
def test_damaged_files_are_read_or_refused(folder, kind: str) -> None:
    """A hundred files of each kind with a few accidents; some of them are refused, and none raises anything else."""
    plugins, came = load_plugins(), set()
    for seed in range(100):
        what, _, told = readers.attempt(folder, kind, seed, plugins)
        assert what != "found", f"{kind}, seed {seed}: {told}"
        came.add(what)
    assert "refused" in came
