"""A search that is stopped, killed or interrupted goes on with the same command and loses nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import autotune

SLOW = ("search", "images", "trainer=toy", "epochs=6", "fixed.sleep=0.3", "pruner=none")
LONG = ("search", "images", "trainer=toy", "epochs=1000", "fixed.sleep=0.3", "--trials", "1")


def last_weights(folder: Path) -> bytes:
    """The bytes of the last checkpoint of trial 0."""
    files = sorted(folder.glob("trials/00000/attempt-*/checkpoint-6.safetensors"))
    assert files, list(folder.glob("trials/00000/*/*"))
    return files[-1].read_bytes()


def test_a_killed_search_ends_with_the_same_weights(shell):
    """After kill -9 within a trial the same command resumes it, and its weights are those of an undisturbed one."""
    shell.run(*SLOW, "--trials", "1", "--name", "calm", "--quiet")
    process = shell.start(*SLOW, "--trials", "1", "--name", "killed")
    shell.wait_for(lambda: shell.epochs("runs/killed") >= 2, process)
    process.kill()
    process.communicate()
    status = shell.json("status", "runs/killed")
    assert status["state"] == "open"
    assert [t["number"] for t in status["running"]] == [0]
    assert status["best"] is None
    shell.run(*SLOW, "--trials", "1", "--name", "killed", "--quiet")
    trial = shell.json("trials", "runs/killed")[0]
    assert (trial["state"], trial["attempts"], trial["epochs"]) == ("complete", 2, 6)
    assert last_weights(shell.folder / "runs/killed") == last_weights(shell.folder / "runs/calm")
    assert shell.json("status", "runs/killed")["best"]["trial"]["number"] == 0


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        (signal.SIGTERM, 75),
        pytest.param(signal.SIGUSR1, 75, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_search_leaves_its_best_model(shell, number, code):
    """Ctrl-C ends with exit code 130, SIGTERM and SIGUSR1 ask for a requeue; a best model is there all the same."""
    process = shell.start(*SLOW, "--trials", "3")
    shell.wait_for(lambda: shell.epochs("runs/images") >= 2, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert "autotune search" in err
    study = autotune.open(shell.folder / "runs/images")
    assert study.best is not None
    assert study.state == "open"
    assert (study.path / "report.md").is_file()
    record = shell.json(*SLOW, "--trials", "3", "--quiet")
    assert record["state"] == "done"
    assert record["trials"]["complete"] == 3
    assert shell.json("trials", "runs/images")[0]["attempts"] == 2


def test_two_searches_in_one_folder(shell):
    """A second search in the same study is refused while the first one runs, and the first one is not disturbed."""
    process = shell.start(*LONG)
    shell.wait_for(lambda: shell.epochs("runs/images") >= 1, process)
    second = shell.start(*LONG)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 5
    assert f"another process ({process.pid})" in err
    before = shell.epochs("runs/images")
    shell.wait_for(lambda: shell.epochs("runs/images") > before, process)


@pytest.mark.slow
def test_time_is_kept_over_calls(shell):
    """The time is a total: what an interrupted call spent is gone, and the study ends within what is left."""
    words = ("search", "images", "trainer=toy", "fixed.sleep=0.2", "epochs=5", "--time", "12s")
    process = shell.start(*words)
    shell.wait_for(lambda: shell.epochs("runs/images") >= 3, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    spent = shell.json("status", "runs/images")["spent"]
    assert spent > 1
    record = shell.json(*words, "--quiet")
    assert record["state"] == "done"
    assert spent < record["spent"] <= 13.5
    assert record["best"] is not None
