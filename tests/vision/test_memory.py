"""How much memory is free, of the machine and of a container."""

from __future__ import annotations

import pytest

from autotune.vision import memory

GIB = 2**30


@pytest.fixture
def container(tmp_path, monkeypatch):
    """Makes a container of so many bytes, of which some are taken, by files that are only kept at hand too."""

    def make(most: str, taken: int, files: int) -> None:
        (tmp_path / "memory.max").write_text(f"{most}\n")
        (tmp_path / "memory.current").write_text(f"{taken}\n")
        (tmp_path / "memory.stat").write_text(
            f"anon {taken - files}\nactive_file {files // 2}\ninactive_file {files - files // 2}\n"
        )

    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    return make


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes a machine with so many bytes available."""

    def make(available: int) -> None:
        path = tmp_path / "meminfo"
        path.write_text(f"MemTotal: 999 kB\nMemAvailable:   {available // 1024} kB\nHugePages_Total:       0\n")
        monkeypatch.setattr(memory, "MEMINFO", path)

    return make


def test_what_is_free_is_less_than_all():
    """On this very machine some memory is free, and not all of it."""
    assert 0 < memory.memory_available() < memory.memory_of_machine()


def test_the_smaller_of_machine_and_container_decides(container, machine):
    """A container's processes may take what its limit leaves, files at hand counted as free, and what there is."""
    machine(3 * GIB)
    container(str(2 * GIB), taken=GIB, files=GIB // 2)
    assert memory.memory_of_machine() == 2 * GIB
    assert memory.memory_available() == 3 * GIB // 2
    machine(GIB)
    assert memory.memory_available() == GIB
    container(str(2 * GIB), taken=3 * GIB, files=0)
    assert memory.memory_available() == 0


def test_a_container_without_a_limit_leaves_what_the_machine_has(container, machine):
    """``max`` is no limit; what is taken does not count twice."""
    machine(GIB)
    container("max", taken=GIB, files=0)
    assert memory.memory_available() == GIB


def test_a_system_that_does_not_say_has_all_of_it_free(tmp_path, monkeypatch):
    """Where neither file is there, the machine's memory is the answer."""
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "none")
    assert memory.memory_available() == memory.memory_of_machine()
