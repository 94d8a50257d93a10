"""A disk that is full: told as what it is, and no trial is lost by it."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from autotune import Epoch
from autotune.engine import Clock, claim, run_search
from autotune.engine.attempt import read_attempts, trial_folder
from autotune.engine.clock import Pulse
from autotune.engine.search import read
from autotune.engine.storage import FILE
from autotune.errors import StudyError

LINES = 160
"""Bytes into which the lines of an attempt's start and end fit, and the clock, but no checkpoint and no journal."""


def stops(disk, made, match):
    """Runs a search whose trainer fills the disk; returns what is said."""
    with pytest.raises(StudyError, match=match) as caught:
        run_search(made)
    disk(None)
    assert "make room" in caught.value.hint
    return caught.value


@pytest.mark.parametrize("size", [LINES, 0])
@pytest.mark.parametrize("batch", [1, 3])
def test_five_calls_on_a_full_disk_lose_no_trial(plan, fake_fit, fake_many, disk, size, batch):
    """However often the first epoch cannot be saved, nor its end be told, the trials go on when there is room."""

    def fit(recipe, data, run):
        disk(size)
        yield from fake_fit(recipe, data, run)

    def many(recipes, data, runs):
        disk(size)
        yield from fake_many(recipes, data, runs)

    kind = {"batch": batch, "same": ("n",), "trials": 1, "epochs": 2}
    for _ in range(5):
        stops(disk, plan(fit, many=many, **kind), r"checkpoint-1\.safetensors: cannot be written")
    study = run_search(plan(**kind))
    assert [t.state for t in study.trials] == ["complete"] * batch
    assert [[p.at for p in t.curve] for t in study.trials] == [[1, 2]] * batch


@pytest.mark.parametrize("size", [LINES, 0])
def test_epochs_from_before_are_kept(plan, fake_fit, disk, size):
    """A trial that stood at an epoch when the disk filled goes on from there, five full calls later."""

    def fit(recipe, data, run):
        if run.resume is not None:
            disk(size)
        for epoch in fake_fit(recipe, data, run):
            yield epoch
            if epoch.at == 2:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Exception, match="at once"):
        run_search(plan(fit, trials=1, epochs=4))
    for _ in range(5):
        stops(disk, plan(fit, trials=1, epochs=4), r"checkpoint-3\.safetensors: cannot be written")
    made = plan(trials=1, epochs=4)
    trial = run_search(made).trials[0]
    assert (trial.state, [p.at for p in trial.curve]) == ("complete", [1, 2, 3, 4])
    assert read_attempts(trial_folder(made.path, 0), made.path)[-1].start == 2


def test_attempts_that_cannot_begin_do_not_count(plan, fake_fit, disk):
    """Where not even an attempt's first line can be written, neither a death is counted nor an epoch forgotten."""

    def fit(recipe, data, run):
        for epoch in fake_fit(recipe, data, run):
            yield epoch
            if epoch.at == 2:
                raise SystemExit

    made = plan(fit, trials=1, epochs=4)
    with pytest.raises(SystemExit):
        run_search(made)
    home = trial_folder(made.path, 0)
    for number in range(2, 8):
        (home / f"attempt-{number}").mkdir()  # what a call leaves that cannot write into it
    (home / "attempt-7" / "epochs.jsonl").touch()
    trial = run_search(plan(trials=1, epochs=4)).trials[0]
    assert (trial.state, [p.at for p in trial.curve]) == ("complete", [1, 2, 3, 4])
    assert read_attempts(home, made.path)[-1].start == 2


def test_a_line_that_was_cut_short_spoils_nothing(plan, disk):
    """An epoch's line of which half was written is cut off before the end is told; the trial waits."""

    def fit(recipe, data, run):
        disk(LINES)
        yield Epoch(at=1, images=10, metrics={"accuracy": recipe.x})

    made = plan(fit, trials=1, epochs=1)
    stops(disk, made, r"epochs\.jsonl: cannot be written \(File too large\)")
    (attempt,) = read_attempts(trial_folder(made.path, 0), made.path)
    assert (attempt.end, attempt.points) == ("paused", ())
    assert run_search(plan(trials=1, epochs=1)).trials[0].state == "complete"


def test_a_note_is_no_failure_of_the_trial(plan, disk):
    """A trainer whose note cannot be written is not to blame."""

    def fit(recipe, data, run):
        disk(0)
        run.note("so it goes")
        yield

    made = plan(fit, trials=1, epochs=1)
    stops(disk, made, r"epochs\.jsonl: cannot be written")
    assert read(made.path, made.plugins).trials[0].state == "running"


def test_a_failure_that_cannot_be_written_down_comes_again(plan, disk):
    """The search stops, and the next call takes the trial again."""

    def fit(recipe, data, run):
        disk(LINES)
        raise ValueError("no")
        yield

    stops(disk, plan(fit, trials=1, epochs=1), r"failure\.json: cannot be written")
    assert run_search(plan(trials=1, epochs=1)).trials[0].state == "complete"


def test_a_journal_that_cannot_be_written(plan, fake_fit, disk):
    """It is said of the study's folder; a trial that was done by then is done, and not trained again."""

    def fit(recipe, data, run):
        yield from fake_fit(recipe, data, run)
        disk((made.path / FILE).stat().st_size + 3)

    made = plan(fit, trials=1, epochs=2)
    stops(disk, made, r"journal\.log: cannot be written")
    trial = run_search(plan(trials=1, epochs=2)).trials[0]
    assert (trial.state, trial.attempts) == ("complete", 1)


def test_the_first_error_is_the_one_that_is_told(plan, disk):
    """A clock that cannot be saved at the end masks nothing, be it a person's wish or another error."""

    def fit(recipe, data, run):
        disk(0)
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        run_search(plan(fit, trials=1, epochs=1))
    disk(None)
    assert run_search(plan(trials=1, epochs=1)).trials[0].state == "complete"


def test_a_clock_that_cannot_be_saved(tmp_path, disk):
    """The error names its file and says what to do."""
    clock = Clock(tmp_path, 10.0)
    clock.open()
    disk(0)
    with pytest.raises(StudyError, match=r"clock\.json: cannot be written \(File too large\)") as caught:
        clock.save()
    assert "make room" in caught.value.hint


def test_a_folder_that_cannot_be_claimed(tmp_path, disk):
    """The error names the lock, and the folder is free afterwards."""
    disk(0)
    with pytest.raises(StudyError, match="lock: cannot be written"), claim(tmp_path):
        pass
    disk(None)
    with claim(tmp_path):
        assert (tmp_path / "lock").exists()


def test_the_pulse_survives_beats_that_cannot_be_written(tmp_path):
    """Beats are left out while the folder is gone, whatever they raise, and go on when it is back."""
    folder, tried = tmp_path / "gone", threading.Event()
    clock = Clock(folder, 10.0)
    clock.open()

    def beat():
        tried.set()
        (folder / "alive").write_text("1\n")

    with Pulse(0.01) as pulse:
        pulse.add(clock.save)
        pulse.add(beat)
        assert tried.wait(10)
        folder.mkdir()
        begin = time.monotonic()
        while not ((folder / "alive").exists() and (folder / "clock.json").exists()):
            assert time.monotonic() - begin < 10
            time.sleep(0.01)
