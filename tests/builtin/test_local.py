"""The launcher ``local``: cores shared out fairly, the dead started again, the stubborn killed."""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path

import pytest

from autotune import WorkerSpec, WorkerState
from autotune.builtin import local
from autotune.builtin.local import LocalLauncher, shares


def spec(folder: Path, code: str, **more) -> WorkerSpec:
    """A worker that runs some Python."""
    return WorkerSpec(argv=[sys.executable, "-c", code], log_dir=folder / "logs", **more)


def until(launcher, group, *states, seconds=30.0):
    """Polls until every worker is in one of the states; returns them."""
    began = time.monotonic()
    while True:
        found = [status.state for status in launcher.poll(group)]
        if set(found) <= set(states):
            return found
        assert time.monotonic() - began < seconds, found
        time.sleep(0.02)


def said(folder: Path, index: int = 0) -> list[str]:
    """What a worker printed."""
    return (folder / "logs" / f"worker-{index}.log").read_text().splitlines()


def test_cores_are_shared_out_fairly(monkeypatch):
    """Shares differ by one core at most, and are disjoint; with more workers than cores each has one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(10)))
    found = shares(4)
    assert sorted(core for share in found for core in share) == list(range(10))
    assert sorted(len(share) for share in found) == [2, 2, 3, 3]
    assert [len(share) for share in shares(13)] == [1] * 13
    assert {core for share in shares(13) for core in share} == set(range(10))


def test_each_has_its_cores_its_threads_and_its_gpu(tmp_path, monkeypatch):
    """A worker is pinned, is told how many threads that makes, and sees one GPU; who says the threads is obeyed."""
    for name in local.THREADS:
        monkeypatch.delenv(name, raising=False)
    code = (
        "import os, time; time.sleep(0.3)\n"
        "print(len(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'], os.environ['CUDA_VISIBLE_DEVICES'], "
        "os.environ['MINE'])"
    )
    launcher = LocalLauncher()
    group = launcher.submit(spec(tmp_path, code, native={"gpus": "3,5"}, env={"MINE": "x"}), 4, "key")
    assert launcher.submit(spec(tmp_path, code), 4, "key") == group
    assert until(launcher, group, WorkerState.DONE) == [WorkerState.DONE] * 4
    cores = [len(share) for share in shares(4)]
    assert [said(tmp_path, i) for i in range(4)] == [
        [f"{cores[i]} {cores[i]} {gpu} x"] for i, gpu in enumerate(("3", "5", "3", "5"))
    ]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    other = spec(tmp_path / "b", code, native={"gpus": "0"}, env={"MINE": "y"})
    until(launcher, launcher.submit(other, 1, "other"), WorkerState.DONE)
    assert said(tmp_path / "b")[0].split()[1] == "7"


def test_the_dead_are_started_again_after_growing_pauses(tmp_path):
    """A worker that dies is started again, later each time, and no more often than was said."""
    launcher = LocalLauncher()
    code = "import os, time; print(time.monotonic(), flush=True); os.kill(os.getpid(), 9)"
    group = launcher.submit(spec(tmp_path, code, max_restarts=3), 1, "key")
    launcher._groups[group].workers[0].pause = 0.2
    assert until(launcher, group, WorkerState.FAILED) == [WorkerState.FAILED]
    times = [float(line) for line in said(tmp_path)]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert len(times) == 4
    assert gaps[0] >= 0.2
    assert gaps[1] >= 0.4
    assert gaps[2] >= 0.8


@pytest.mark.parametrize(("code", "times"), [(2, 1), (9, 1), (130, 1), (1, 2), (5, 2), (75, 2)])
def test_mistakes_are_not_tried_again(tmp_path, code, times):
    """What a person has to mend ends a worker; what may pass, or asks for a requeue, is started again."""
    launcher = LocalLauncher()
    group = launcher.submit(spec(tmp_path, f"print('here'); raise SystemExit({code})", max_restarts=1), 1, "key")
    launcher._groups[group].workers[0].pause = 0.05
    assert until(launcher, group, WorkerState.FAILED) == [WorkerState.FAILED]
    assert said(tmp_path) == ["here"] * times


def test_who_does_not_end_within_its_grace_time_is_killed(tmp_path):
    """Asked to stop, a worker may end by itself; one that does not is killed, and none is started again."""
    stubborn = "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: None)\nprint('up', flush=True)\n"
    stubborn += "while True: time.sleep(0.1)"
    launcher = LocalLauncher()
    group = launcher.submit(spec(tmp_path, stubborn, grace=0.5), 2, "key")
    began = time.monotonic()
    while not all((tmp_path / "logs" / f"worker-{i}.log").read_text() for i in range(2)):
        assert time.monotonic() - began < 30
        time.sleep(0.02)
    launcher.cancel(group, 0)
    began = time.monotonic()
    until(launcher, group, WorkerState.DONE, WorkerState.RUNNING)
    while launcher.poll(group)[0].state != WorkerState.DONE:
        time.sleep(0.02)
    assert 0.5 < time.monotonic() - began < 10
    assert launcher.poll(group)[1].state == WorkerState.RUNNING
    launcher.cancel(group)
    assert until(launcher, group, WorkerState.DONE) == [WorkerState.DONE] * 2


def test_where_one_cannot_be_started_none_runs_on(tmp_path):
    """Those that were started before it are asked to end."""
    (tmp_path / "logs" / "worker-1.log").mkdir(parents=True)
    launcher = LocalLauncher()
    with pytest.raises(IsADirectoryError):
        launcher.submit(spec(tmp_path, "import time; time.sleep(60)"), 2, "key")
    assert until(launcher, "key", WorkerState.DONE, seconds=20.0) == [WorkerState.DONE] * 2
