"""Workers notice when the call that launched them is no more."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

import pytest

from autotune import engine, joining
from autotune.engine.processes import fresh_mark
from autotune.errors import Interrupted
from autotune.joining import join, left_by
from autotune.launch.leading import LAUNCHED_BY
from autotune.searching import prepare
from autotune.testing import tiny_folder

MARK = "from autotune.engine.processes import fresh_mark; print(fresh_mark(), flush=True); input()"


def test_a_call_of_this_machine_is_seen_to_be_dead():
    """Whether it is the worker's parent or not."""
    code = [sys.executable, "-c", MARK]
    with subprocess.Popen(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as call:
        gone = left_by(call.stdout.readline().strip())
        assert not gone()
        call.kill()
        call.wait()
        assert gone()
    assert not left_by(fresh_mark())()


def test_of_a_call_elsewhere_nothing_is_known():
    """Its workers go on, although no process here bears its number."""
    assert not left_by("0123456789ab-4194303-1-deadbeef")()


def test_a_parent_is_missed_where_machines_cannot_be_told_apart(monkeypatch):
    """Another one adopts the worker then."""
    parent = os.getppid()
    gone, others = left_by(f"-{parent}-0-deadbeef"), left_by(f"-{parent + 1}-0-deadbeef")
    assert not gone()
    monkeypatch.setattr(os, "getppid", lambda: parent + 2)
    assert gone()
    assert not others()


@pytest.fixture
def study(tmp_path):
    """Makes a study that no one has begun; its words are assignments."""

    def make(*words):
        images = tiny_folder(tmp_path / "images")
        plan = prepare(str(images), ("trainer=toy", "sampler=random", "epochs=1", "name=study", *words), runs=tmp_path)
        plan.write()
        return plan

    return make


def test_a_launcher_that_dies_while_the_study_is_opened_is_missed(study, monkeypatch):
    """Whose worker this is was noted before anything that takes long."""
    made, reopen, parent = study("time=20s"), joining.reopen, os.getppid()

    def slow(*args):
        monkeypatch.setattr(os, "getppid", lambda: parent + 1)
        return reopen(*args)

    monkeypatch.setenv(LAUNCHED_BY, f"-{parent}-0-deadbeef")
    monkeypatch.setattr(joining, "reopen", slow)
    with pytest.raises(Interrupted, match="stopped by its launcher's death"):
        join(made.path)


def test_a_launched_worker_hands_over_where_its_launcher_does_not(study, monkeypatch):
    """While the call that launched it has claimed the study, that is left to the call; else nobody would do it."""
    made = study("trials=2")
    with engine.at_work(made, engine.Clock(made.path)) as call:
        engine.set_up(call)
    monkeypatch.setenv(LAUNCHED_BY, "0123456789ab-4194303-1-deadbeef")
    with (made.path / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert join(made.path).study.state == "done"
        assert not (made.path / "report.md").exists()
    joined = join(made.path)
    assert joined.study.best is not None
    assert (made.path / "report.md").is_file()
    assert (made.path / "best").is_dir()
