"""The monkey does what its seed says, to whom it says."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from herd import Herd
from monkey import KINDS, Fault, Monkey, plan
from smalldisk import SmallDisk

LEADER = """
import subprocess, sys, time
workers = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "worker"]) for _ in range(2)]
time.sleep(60)
"""


def fault(kind: str, *, after: int = 0, lasts: float = 5.0) -> Fault:
    """One that is due at once."""
    return Fault(kind=kind, after=after, pause=0.0, lasts=lasts, pick=0.6)


def state(process: int) -> str:
    """``T`` of a process that stands still, ``S`` of one that sleeps."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for(there: Callable[[], bool]) -> None:
    """Waits until something is so."""
    began = time.monotonic()
    while not there():
        assert time.monotonic() - began < 20, "it does not come"
        time.sleep(0.01)


@pytest.fixture
def herd(tmp_path: Path) -> Iterator[Herd]:
    """A launcher with two workers, all of which sleep."""
    herd = Herd([sys.executable, "-c", LEADER], env={}, said=tmp_path / "said")
    herd.start()
    try:
        wait_for(lambda: len(herd.workers()) == 2)
        yield herd
    finally:
        herd.end()


@pytest.fixture
def monkey(herd: Herd, tmp_path: Path) -> Callable[..., Monkey]:
    """Makes a monkey that does some things to the herd; it has no disk."""
    disk = SmallDisk(tmp_path / "disk", 1 << 20)
    return lambda *faults: Monkey(faults, herd=herd, disk=disk, study=tmp_path / "study")


def test_a_plan_follows_from_its_seed():
    """The same seed plans the same, another one something else, in the order in which it is due."""
    plans = [plan(seed, epochs=180, faults=8) for seed in range(30)]
    assert plans == [plan(seed, epochs=180, faults=8) for seed in range(30)]
    assert len(set(plans)) == 30
    for one in plans:
        assert [fault.after for fault in one] == sorted(fault.after for fault in one)
        assert all(fault.after < 162 and fault.lasts <= 3.0 for fault in one)
    assert {fault.kind for one in plans for fault in one} == set(KINDS)
    (one,) = plan(0, epochs=180, faults=1, kinds=["full"], lasts=(11.0, 12.0), by=0.1)
    assert (one.kind, one.after < 18, 11.0 <= one.lasts <= 12.0) == ("full", True, True)


def test_a_worker_is_killed(herd, monkey):
    """One of them, and nobody else."""
    launcher, workers = herd.launcher(), herd.workers()
    one = monkey(fault("kill worker"))
    one.step(0, 0.0)
    wait_for(lambda: len(herd.workers()) == 1)
    assert herd.workers() == [workers[0]]
    assert herd.launcher() == launcher
    assert (one.told, one.felled, one.left) == (["kill worker @0"], 0, [])


def test_a_worker_stands_still_for_a_while(herd, monkey):
    """It is stopped, and continues when its time is over."""
    _, worker = herd.workers()
    one = monkey(fault("stop worker", lasts=5.0))
    one.step(0, 100.0)
    wait_for(lambda: state(worker) == "T")
    assert one.busy
    one.step(0, 104.9)
    assert state(worker) == "T"
    one.step(0, 105.1)
    wait_for(lambda: state(worker) == "S")
    assert not one.busy


def test_workers_are_found_when_their_launcher_is_dead(herd, monkey):
    """Whoever adopted them; and then all of them can be killed."""
    workers = herd.workers()
    one = monkey(fault("kill launcher"), fault("stop launcher"), fault("kill all"))
    one.step(0, 0.0)
    wait_for(lambda: herd.code == -signal.SIGKILL)
    assert herd.workers() == workers
    one.step(0, 0.0)
    assert [fault.kind for fault in one.left] == ["stop launcher", "kill all"], "nobody is there to be stopped"
    one.left.pop(0)
    one.step(0, 0.0)
    wait_for(lambda: not herd.members())
    assert one.felled == 1


def test_nothing_happens_before_its_time(herd, monkey):
    """A fault waits for the study to have come so far, and then for its pause."""
    one = monkey(Fault(kind="kill all", after=7, pause=0.5, lasts=0.0, pick=0.0))
    one.step(6, 0.0)
    one.step(7, 10.0)
    one.step(7, 10.4)
    assert one.told == []
    one.step(9, 10.6)
    assert one.told == ["kill all @9"]


def test_what_lasts_is_ended_at_the_end(herd, monkey):
    """Nobody stands still for ever."""
    one = monkey(fault("stop all"))
    one.step(0, 0.0)
    processes = herd.members()
    wait_for(lambda: all(state(process) == "T" for process in processes))
    one.end()
    wait_for(lambda: all(state(process) == "S" for process in processes))
