"""Studies whose workers, launcher, disk and checkpoints are mistreated end as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from kinds import ALONE, FEW, FULL, HOLD, LEASE, PRUNED, REAL, STILL, TOY, Kind
from ordeal import Ordeal
from smalldisk import unavailable

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))


@pytest.fixture
def ordeal(tmp_path: Path) -> Callable[[Kind], Ordeal]:
    """Makes what runs studies of a kind."""
    return lambda kind: Ordeal(kind, tmp_path)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Ordeal:
    """Runs studies of a few trials in one process each; the undisturbed one is run first."""
    ordeal = Ordeal(ALONE, tmp_path_factory.mktemp("alone"))
    ordeal.calm()
    return ordeal


@pytest.mark.parametrize("seed", [pytest.param(23, marks=pytest.mark.slow), 33])
def test_one_process(alone, seed):
    """A search without workers: it stands still, is killed, its disk is full or read-only, its checkpoints are cut."""
    verdict = alone.run(seed)
    assert verdict.wrong == []
    assert len(verdict.events) == 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_few_trials(ordeal, seed):
    """Six toy trials on two workers, to which three things happen."""
    verdict = ordeal(FEW).run(seed)
    assert verdict.wrong == []
    assert verdict.events


@pytest.mark.slow
def test_a_worker_that_stands_still_for_longer_than_its_lease(ordeal):
    """Its trial is taken over; it comes back while the study goes on, drops what it made, and says so."""
    assert STILL.lasts[0] > LEASE
    verdict = ordeal(STILL).run(0)
    assert verdict.wrong == []
    assert len(verdict.events) == 1
    assert verdict.dropped >= 1
    assert verdict.codes == {0: 1}


@pytest.mark.slow
def test_a_disk_that_is_full_for_longer_than_a_hold(ordeal):
    """Nobody ends, although those who wait for room lose what they hold; the study goes on once there is room."""
    assert FULL.lasts[0] > HOLD
    verdict = ordeal(FULL).run(0)
    assert verdict.wrong == []
    assert len(verdict.events) == 1
    assert verdict.seconds > HOLD
    assert verdict.codes == {0: 1}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_sixty_toy_trials(ordeal, seed):
    """None is lost, none counts twice, and the report is that of an undisturbed run."""
    verdict = ordeal(TOY).run(seed)
    assert verdict.wrong == []
    assert verdict.events


@pytest.mark.slow
def test_trials_that_are_pruned(ordeal):
    """With the usual sampler and pruner, too, each ends once, and as many as were asked for, many of them early."""
    verdict = ordeal(PRUNED).run(0)
    assert verdict.wrong == []
    assert verdict.events
    assert verdict.states["pruned"] >= 10
    assert verdict.states["complete"] >= 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twelve_real_trials(ordeal):
    """A network trains to the same weights, however often its workers die."""
    verdict = ordeal(REAL).run(0)
    assert verdict.wrong == []
    assert verdict.events


@pytest.mark.slow
def test_the_command_prints_every_seed(tmp_path):
    """A line a seed, with what happened and what the judge says, and the same as JSON."""
    script = Path(__file__).with_name("run.py")
    words = ["--seeds", "1", "--first", "5", "--study", "few", "--json", str(tmp_path / "found.json")]
    done = subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    head, row, last = done.stdout.splitlines()
    assert head.split()[:2] == ["seed", "verdict"]
    assert row.split()[:2] == ["5", "well"]
    assert last.startswith("1 studies of 6 trials")
    assert last.endswith("nothing was lost")
    (found,) = json.loads((tmp_path / "found.json").read_text())
    assert (found["seed"], found["wrong"]) == (5, [])
    assert all(event in row for event in found["events"])


def test_a_command_that_ends_by_itself_is_wrong(ordeal):
    """Whatever its exit code says, unless the monkey had a hand in it; it is not started again."""
    verdict = ordeal(replace(ALONE, words=("trainer=none",), alike=False)).run(0)
    assert verdict.wrong == ["the command ended with the exit code 2"]
    assert verdict.codes == {2: 1}


def test_what_is_ended_leaves_nothing_behind(tmp_path):
    """Neither a mounted disk nor a folder nor a process, when the command is asked to end."""
    words = [sys.executable, str(Path(__file__).with_name("run.py")), "--seeds", "1", "--study", "alone"]
    process = subprocess.Popen(words, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE)
    try:
        began = time.monotonic()
        while str(tmp_path) not in Path("/proc/mounts").read_text():
            assert time.monotonic() - began < 60, "no disk was mounted"
            time.sleep(0.05)
        process.terminate()
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert list(tmp_path.iterdir()) == []
    running = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert not any(str(tmp_path).encode() in command for command in running)
