"""Workers notice when the call that launched them is no more."""

from __future__ import annotations

import os
import subprocess
import sys

from autotune.engine.processes import fresh_mark
from autotune.joining import left_by

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
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert gone()
    assert not others()
