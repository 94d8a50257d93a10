"""The journal's file: whole lines, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import optuna
import pytest

from autotune.engine.journal import JournalFile
from autotune.engine.journal_lock import JournalLock
from autotune.engine.storage import open_storage
from autotune.errors import StudyError

LOG = {"op_code": 8, "worker_id": "w", "trial_id": 0, "user_attr": {"x": 1}}
WRITE = """
import sys
from pathlib import Path
from autotune.engine.journal import JournalFile
from autotune.engine.journal_lock import JournalLock
path = Path(sys.argv[1])
file = JournalFile(path, JournalLock(path.with_name("journal.lock")))
print("ready", flush=True)
number = 0
while True:
    file.append_logs([{"op_code": 8, "worker_id": sys.argv[2], "number": number, "long": "x" * 3000}])
    number += 1
"""


@pytest.fixture
def path(tmp_path):
    """Where a journal is."""
    return tmp_path / "journal.log"


def journal(path):
    """A journal with a lock."""
    return JournalFile(path, JournalLock(path.with_name("journal.lock")))


def test_what_is_appended_is_read(path):
    """Operations come back in order, from any number on, and those that others add are seen."""
    one, other = journal(path), journal(path)
    one.append_logs([{**LOG, "trial_id": 0}, {**LOG, "trial_id": 1}])
    assert [log["trial_id"] for log in other.read_logs(0)] == [0, 1]
    one.append_logs([{**LOG, "trial_id": 2}])
    assert [log["trial_id"] for log in other.read_logs(2)] == [2]
    assert [log["trial_id"] for log in other.read_logs(1)] == [1, 2]
    assert list(journal(path.with_name("none")).read_logs(0)) == []


def test_optunas_own_backend_reads_it(path):
    """The file is Optuna's: its dashboard can open it."""
    study = optuna.create_study(storage=open_storage(path, JournalLock(path.with_name("journal.lock"))), study_name="s")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    read = optuna.load_study(study_name="s", storage=storage)
    assert [t.params for t in read.trials] == [t.params for t in study.trials]


@pytest.mark.parametrize(
    "tail", [b'{"op_code":8,"wor', b"\x00\x00\x00\n", b"[]\n", b'{"op_code":99,"worker_id":"w"}\n']
)
def test_a_torn_tail_is_cut_off_before_the_first_write(path, tail):
    """A last line without an end, or without an operation on it, is read over, and cut off when something is added."""
    journal(path).append_logs([LOG])
    with path.open("ab") as file:
        file.write(tail)
    opened = journal(path)
    assert len(list(opened.read_logs(0))) == 1
    opened.append_logs([{**LOG, "trial_id": 7}])
    assert [log["trial_id"] for log in opened.read_logs(0)] == [0, 7]
    assert path.read_bytes().count(b"\n") == 2


def test_a_tail_that_another_worker_tears_later_is_cut_off(path):
    """Also a line that is torn after this process has written its first one."""
    opened = journal(path)
    opened.append_logs([LOG])
    with path.open("ab") as file:
        file.write(b'{"op_c')
    opened.append_logs([{**LOG, "trial_id": 7}])
    assert [log["trial_id"] for log in opened.read_logs(0)] == [0, 7]


def test_damage_further_up_names_file_line_and_remedy(path):
    """A damaged line that is not the last one is one error, with the command that helps."""
    journal(path).append_logs([LOG] * 4)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:9] + b"\n" + lines[2] + lines[3])
    with pytest.raises(StudyError, match=r"journal\.log: the journal is damaged in line 2 \(") as caught:
        list(journal(path).read_logs(0))
    assert caught.value.hint.endswith(f"autotune storage salvage {path.parent}")


def test_an_operation_that_makes_no_sense_names_its_line(path):
    """Json that Optuna cannot carry out is damage too."""
    open_storage(path, None).create_new_study([optuna.study.StudyDirection.MAXIMIZE], "s")
    with path.open("a") as file:
        file.write(json.dumps({"op_code": 4, "worker_id": "w", "study_jd": 0}) + "\n")
    with pytest.raises(StudyError, match="damaged in line 2"):
        open_storage(path, None)


def test_what_does_not_fit_leaves_the_file_as_it_was(path, disk):
    """Operations of which the disk takes a part are not there at all."""
    opened = journal(path)
    opened.append_logs([LOG])
    before = path.read_bytes()
    disk(len(before) + 20)
    with pytest.raises(OSError, match="File too large"):
        opened.append_logs([LOG, LOG])
    disk(None)
    assert path.read_bytes() == before


def test_writers_that_are_killed_leave_whole_lines(path):
    """Writers killed at any moment cost each other no line and no five seconds."""
    path.touch()
    for round_ in range(2):
        words = [sys.executable, "-c", WRITE, str(path)]
        children = [subprocess.Popen([*words, f"{round_}-{i}"], stdout=subprocess.PIPE, text=True) for i in range(3)]
        assert [child.stdout.readline() for child in children] == ["ready\n"] * 3
        for child in children:
            time.sleep(0.05)
            child.send_signal(signal.SIGKILL)
        begin = time.monotonic()
        journal(path).append_logs([{**LOG, "worker_id": f"{round_}"}])
        assert time.monotonic() - begin < 5
        for child in children:
            child.communicate()
    logs = list(journal(path).read_logs(0))
    assert [log["worker_id"] for log in logs if "-" not in log["worker_id"]] == ["0", "1"]
    for worker in {log["worker_id"] for log in logs if "-" in log["worker_id"]}:
        numbers = [log["number"] for log in logs if log["worker_id"] == worker]
        assert numbers == list(range(len(numbers)))


def test_what_a_power_cut_must_not_cost_is_waited_for(path, monkeypatch):
    """Once a trial has its number, and once it has ended, all before it is on the disk; in between nobody waits."""
    waited = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: waited.append(path.stat().st_size) or real(file))
    study = optuna.create_study(storage=open_storage(path, JournalLock(path.with_name("journal.lock"))))
    waited.clear()
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.set_user_attr("turn", 0)
    assert not waited
    trial.set_user_attr("number", 0)
    assert waited == [path.stat().st_size]
    trial.report(0.5, 1)
    study.tell(trial, 0.5)
    assert waited[1:] == [path.stat().st_size]
