"""Workers as processes of their own: they die, stand still, come back, and the study does not care."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

import autotune
from autotune.engine.attempt import read_claim

STUDY = ("images", "trainer=toy", "sampler=random", "pruner=none")
LEASE = ("--lease", "1.5")


def workers(shell) -> list[int]:
    """The processes of ``autotune worker`` on the study in a shell's folder."""
    folder = os.fsencode(shell.folder / "runs" / "images")
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
                state = (path / "stat").read_bytes().rpartition(b")")[2].split()[0]
            except OSError:
                continue
            if b"worker" in words and folder in words and state != b"Z":
                found.append(int(path.name))
    return found


def wait(there, seconds=60.0):
    """Waits until something is so."""
    began = time.monotonic()
    while not there():
        assert time.monotonic() - began < seconds, "it does not come"
        time.sleep(0.02)


def open_attempts(shell) -> list[int]:
    """The trials whose newest attempt has begun and not ended."""
    found = []
    for trial in sorted((shell.folder / "runs" / "images" / "trials").glob("0*")):
        attempts = sorted(trial.glob("attempt-*"), key=lambda path: int(path.name[8:]))
        if attempts and (attempts[-1] / "epochs.jsonl").exists():
            text = (attempts[-1] / "epochs.jsonl").read_text()
            if text and '{"end"' not in text:
                found.append(int(trial.name))
    return found


def begun(shell, *more: str) -> None:
    """Sets a study up, and leaves it with its first trial waiting."""
    process = shell.start("search", *STUDY, *more, "--quiet")
    shell.wait_for(lambda: shell.epochs("runs/images") >= 1, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75


def check(shell, trials: int) -> autotune.Study:
    """A study that is done: each trial complete, once, with all its epochs, and the best model there."""
    study = autotune.open(shell.folder / "runs" / "images")
    assert study.state == "done"
    assert [t.number for t in study.trials] == list(range(trials))
    for trial in study.trials:
        assert trial.state == "complete", trial
        assert [p.at for p in trial.curve] == list(range(1, len(trial.curve) + 1))
    assert study.best is not None
    assert (study.path / "report.md").is_file()
    return study


@pytest.mark.slow
def test_a_command_with_workers(shell):
    """The command shows what its workers do, and ends with exactly the trials that were asked for and a report."""
    process = shell.start("search", *STUDY, "epochs=2", "fixed.sleep=0.1", "--trials", "7", "--workers", "3")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "best: trial" in out
    assert err.count(" complete, accuracy") == 7, err
    study = check(shell, 7)
    assert {t.attempts for t in study.trials} == {1}
    assert not workers(shell)
    logs = sorted((study.path / "workers").glob("worker-*.log"))
    assert len(logs) == 3
    assert sum(log.read_text().count(" complete, accuracy") for log in logs) == 7
    shell.run("search", *STUDY, "epochs=2", "fixed.sleep=0.1", "--trials", "9", "--workers", "2", "--quiet")
    check(shell, 9)


@pytest.mark.slow
def test_workers_by_hand(shell):
    """Workers that were started by hand share what is left; the last one hands the best model over."""
    begun(shell, "epochs=3", "fixed.sleep=0.2", "--trials", "6")
    found = [shell.start("worker", "runs/images") for _ in range(2)]
    told = [process.communicate(timeout=120) for process in found]
    assert [process.returncode for process in found] == [0, 0], told
    assert all("all 6 trials are done; trials: 6 complete" in out for out, _ in told)
    study = check(shell, 6)
    assert [t.attempts for t in study.trials] == [2, 1, 1, 1, 1, 1]
    assert "the study is done" in shell.run("worker", "runs/images", "--quiet")


@pytest.mark.slow
def test_a_worker_that_comes_back(shell):
    """A stopped worker's trial is taken over; continued, it says that it is dropped, and goes on with another trial."""
    begun(shell, "epochs=8", "fixed.sleep=0.4", "--trials", "4", *LEASE)
    one = shell.start("worker", "runs/images")
    shell.wait_for(lambda: len(open_attempts(shell)) == 1, one)
    one.send_signal(signal.SIGSTOP)
    other = shell.start("worker", "runs/images")
    folder = shell.folder / "runs/images/trials/00000"
    shell.wait_for(lambda: (folder / "attempt-3" / "epochs.jsonl").exists(), other)
    one.send_signal(signal.SIGCONT)
    _, err = one.communicate(timeout=120)
    out, _ = other.communicate(timeout=120)
    assert (one.returncode, other.returncode) == (0, 0)
    assert err.count("trial 0: taken over by another worker while this one stood still") == 1, err
    assert "all 4 trials are done" in out
    study = check(shell, 4)
    assert [t.attempts for t in study.trials] == [3, 1, 1, 1]
    assert {len(t.curve) for t in study.trials} == {8}
    assert err.count(" complete, accuracy") >= 1


@pytest.mark.slow
def test_a_killed_worker_is_started_again(shell):
    """After kill -9 its trial goes on from its last epoch, in whichever worker; at most one epoch is trained again."""
    words = (*STUDY, "epochs=4", "fixed.sleep=0.4", "--trials", "6", "--workers", "2", *LEASE)
    process = shell.start("search", *words, "--quiet")
    shell.wait_for(lambda: shell.epochs("runs/images") >= 2, process)
    victim = workers(shell)[0]
    os.kill(victim, signal.SIGKILL)
    shell.wait_for(lambda: len(set(workers(shell)) - {victim}) == 2, process)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    study = check(shell, 6)
    assert sum(t.attempts for t in study.trials) == 7
    assert sum(shell.epochs("runs/images", number) for number in range(6)) <= 6 * 4 + 1


DEADLY = """
import os
import signal
from dataclasses import replace

import autotune
from autotune.builtin import toy
from autotune.builtin.toy.trainer import ToyTrainer


class Deadly(ToyTrainer):
    def fit(self, recipe, data, run):
        if run.trial == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().fit(recipe, data, run)


@autotune.hookimpl
def autotune_trainers():
    return [replace(toy.autotune_trainers()[0], name="deadly", build=Deadly)]
"""


@pytest.mark.slow
def test_a_trial_that_kills_its_worker_is_lost(shell):
    """One worker, started again as often as a trial is taken over: the trial fails, and the others are trained."""
    info = shell.folder / "site" / "deadly-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[autotune]\ndeadly = deadly\n")
    (info.parent / "deadly.py").write_text(DEADLY)
    shell.env["PYTHONPATH"] = str(info.parent)
    words = ("images", "trainer=deadly", "sampler=random", "pruner=none", "epochs=2", "--trials", "3", "--quiet")
    process = shell.start("search", *words, "--workers", "1", "--retries", "2")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    study = autotune.open(shell.folder / "runs" / "images")
    assert [(t.state, t.attempts) for t in study.trials] == [("complete", 1), ("failed", 3), ("complete", 1)]
    failure = study.trials[1].failure
    assert (failure.kind, failure.reason) == ("lost", "3 attempts in a row died without a new epoch")
    assert "all 1 workers are given up, which died in trials 1; new ones go on" in err


@pytest.mark.slow
def test_workers_leave_when_their_launcher_is_gone(shell):
    """After kill -9 of the command its workers save and leave; the same command goes on, and trains nothing twice."""
    words = (*STUDY, "epochs=4", "fixed.sleep=0.4", "--trials", "5", "--workers", "2", *LEASE)
    process = shell.start("search", *words, "--quiet")
    shell.wait_for(lambda: shell.epochs("runs/images") >= 2, process)
    process.kill()
    process.communicate()
    assert workers(shell)
    wait(lambda: not workers(shell), 20)
    assert not open_attempts(shell)
    shell.run("search", *words, "--quiet")
    check(shell, 5)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_command_with_workers_that_is_stopped(shell, number, code):
    """Its workers save and leave within the grace time; it says how to go on, and the best model so far is there."""
    words = (*STUDY, "epochs=3", "fixed.sleep=0.3", "--trials", "12", "--workers", "2", "--grace", "10s")
    process = shell.start("search", *words)
    shell.wait_for(lambda: shell.epochs("runs/images") >= 3, process)
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 15
    assert process.returncode == code, err
    assert "autotune search" in err
    assert not workers(shell)
    assert not open_attempts(shell)
    assert autotune.open(shell.folder / "runs/images").best is not None
    shell.run("search", *words, "--quiet")
    check(shell, 12)


@pytest.mark.slow
def test_workers_amid_a_long_batch_are_gone_within_the_grace_time(shell):
    """A batch longer than the grace time is cut short; no worker outlives the command, which asks for a requeue."""
    words = (*STUDY, "epochs=1", "fixed.sleep=90", "fixed.batch_size=256", "--trials", "2", "--workers", "2")
    process = shell.start("search", *words, "--grace", "10s", "--quiet")
    shell.wait_for(lambda: len(open_attempts(shell)) == 2, process)
    began = time.monotonic()
    process.send_signal(signal.SIGUSR1)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == 75, err
    assert "stopped by SIGUSR1; everything is saved" in err
    assert not workers(shell)
    assert not open_attempts(shell)


@pytest.mark.slow
def test_the_time_is_a_total_of_all_calls_and_workers(shell):
    """Three workers spend the time once, not three times; a larger time adds what is new, the same one nothing."""
    words = (*STUDY, "epochs=2", "fixed.sleep=0.2", "--workers", "3", "--quiet")
    spent, seen = 0.0, 0
    for seconds in (20.0, 40.0):
        began = time.monotonic()
        shell.run("search", *words, "--time", f"{seconds:g}s")
        wall = time.monotonic() - began
        study = autotune.open(shell.folder / "runs" / "images")
        assert study.state == "done"
        assert 0.6 * seconds < study.spent < seconds + 2
        assert abs(study.spent - spent - wall) < 3
        assert len(study.trials) > seen
        spent, seen = study.spent, len(study.trials)
    claims = [read_claim(attempt) for attempt in study.path.glob("trials/*/attempt-*")]
    assert len({claim.worker for claim in claims}) >= 3
    shell.run("search", *words, "--time", "40s")
    study = autotune.open(shell.folder / "runs" / "images")
    assert (study.spent, len(study.trials)) == (spent, seen)


@pytest.mark.slow
def test_workers_fail_as_one_process_does(shell):
    """Trial after trial that fails alike ends the workers, with the error and the exit code that one process has."""
    words = (*STUDY, "epochs=2", "fixed.lr=1e300", "--trials", "20", "--workers", "2", "--quiet")
    process = shell.start("search", *words)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 9, err
    assert "error: 5 trials in a row failed alike (diverged)" in err
    assert not workers(shell)


def test_a_worker_that_has_nothing_to_join(shell):
    """A folder that is no study, or one that a newer autotune wrote, is an error that says so; a done study is none."""
    assert "there is no study" in failed(shell, "worker", "images")
    shell.run("search", *STUDY, "epochs=1", "--trials", "1", "--quiet")
    assert "the study is done; trials: 1 complete" in shell.run("worker", "runs/images")
    file = shell.folder / "runs" / "images" / "study.toml"
    file.write_text(re.sub(r"(?m)^format = \d+$", "format = 99", file.read_text()))
    assert "written by a newer autotune (format 99" in failed(shell, "worker", "runs/images")


def failed(shell, *words: str) -> str:
    """What a command says that ends with the exit code of a study that cannot be used."""
    process = shell.start(*words)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    return err
