"""Several processes and one cache: built once, taken over from the dead, and shared in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from autotune.vision import ArrayCache

BEGIN = """
import os, sys, time, torch
from pathlib import Path
from autotune.vision import ArrayCache
torch.set_num_threads(1)
cache = ArrayCache(Path(sys.argv[1]))
yes = lambda: True
def say(text):
    print(text, flush=True)
"""
BUILDER = (
    BEGIN
    + """
def produce():
    for start in range(0, 1000, 100):
        time.sleep(0.1)
        yield (torch.arange(start, start + 100.0).repeat(250, 1).T,)
    say("produced")
sys.stdin.readline()
found = cache.get("aa", {}, 1000, produce, keep_going=yes)
say(float(found.tensors[0].double().sum()))
"""
)
DYING = (
    BEGIN
    + """
def produce():
    yield (torch.ones(500, 250),)
    say("half")
    time.sleep(600)
cache.get("aa", {}, 1000, produce, keep_going=yes)
"""
)
READER = (
    BEGIN
    + """
def private():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024
def produce():
    raise AssertionError("it is there")
sys.stdin.readline()
before = private()
found = cache.get("aa", {}, 50_000, produce, keep_going=yes)
total = 0.0
for part in torch.split(torch.randperm(50_000), 500):
    total += sum(float(rows.double().sum()) for rows in found.rows(part))
say(total)
sys.stdin.readline()  # until all of them have it open
say(private() - before)
sys.stdin.readline()
"""
)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a process on the cache in the test's folder; none outlives the test."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    running: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    """Lets a process go on that waits for a line."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[str]) -> str:
    """The next line that a process says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.slow
def test_two_processes_that_need_one_key_build_it_once(start):
    """One of them produces; the other waits and reads the same rows."""
    both = [start(BUILDER), start(BUILDER)]
    for process in both:
        go(process)
    said = sorted(line for process in both for line in process.communicate(timeout=120)[0].split())
    assert said == [str(250 * 999 * 500.0)] * 2 + ["produced"]


def test_the_death_of_a_builder_frees_the_key(start, tmp_path):
    """A builder is killed in the middle: whoever waits for it builds, and nothing of the dead one is left."""
    builder = start(DYING)
    assert heard(builder) == "half"
    waited = 0

    def keep_going() -> bool:
        nonlocal waited
        waited += 1
        if waited == 5:
            assert builder.poll() is None
            os.kill(builder.pid, signal.SIGKILL)
        return True

    cache = ArrayCache(tmp_path)
    assert (tmp_path / "arrays/activations/aa.part").is_dir()
    found = cache.get("aa", {}, 1000, lambda: iter([(torch.zeros(1000, 250),)]), keep_going=keep_going)
    assert waited >= 5
    assert found.tensors[0].max() == 0
    assert sorted(p.name for p in (tmp_path / "arrays").rglob("*")) == ["0.bin", "aa", "activations", "facts.json"]


def test_who_waits_may_give_up(start, tmp_path):
    """While another builds, a deadline ends the waiting with None, and the builder is not disturbed."""
    builder = start(DYING)
    assert heard(builder) == "half"
    answers = iter([True, True, False])
    began = time.monotonic()
    made = ArrayCache(tmp_path).get("aa", {}, 1000, lambda: iter(()), keep_going=lambda: next(answers))
    assert made is None
    assert time.monotonic() - began < 5
    assert (tmp_path / "arrays/activations/aa.part").is_dir()


def test_what_dead_builders_left_is_swept(start, tmp_path):
    """What a killed builder left of a key that nobody needs goes when something else is built."""
    builder = start(DYING)
    assert heard(builder) == "half"
    cache = ArrayCache(tmp_path)
    rows = (torch.zeros(10, 2),)
    cache.get("bb", {}, 10, lambda: iter([rows]), keep_going=lambda: True)
    assert (tmp_path / "arrays/activations/aa.part").is_dir()
    builder.kill()
    builder.wait()
    cache.get("cc", {}, 10, lambda: iter([rows]), keep_going=lambda: True)
    assert sorted(p.name for p in (tmp_path / "arrays/activations").iterdir()) == ["bb", "cc"]


@pytest.mark.slow
def test_four_processes_share_the_pages_of_an_entry(start, tmp_path):
    """Each reads all of 200 MB; what it has for itself stays below a tenth of that."""
    rows = torch.arange(1000.0).repeat(500, 1)
    cache = ArrayCache(tmp_path, limit=10**9)
    made = cache.get("aa", {}, 50_000, lambda: iter([(rows,)] * 100), keep_going=lambda: True)
    assert made.nbytes == 200_000_000
    del made
    readers = [start(READER) for _ in range(4)]
    for reader in readers:
        go(reader)
    assert {heard(reader) for reader in readers} == {str(50_000 * 999 * 500.0)}
    for reader in readers:
        go(reader)
    private = [int(heard(reader)) for reader in readers]
    assert max(private) < 20_000_000
