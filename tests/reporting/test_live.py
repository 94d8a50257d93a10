"""The live display."""

from __future__ import annotations

import dataclasses
import io

import autotune
from autotune.objective import Goal, Objective
from autotune.plugins import load_plugins
from autotune.reporting.live import Live, Looking


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def show(live, study):
    """Lets a display see a study's first trials."""
    with live:
        plugins = load_plugins()
        plugins.register(live, "live")
        plugins.notify("autotune_study_started", study=study)
        first = study.trials[1]
        plugins.notify("autotune_trial_started", study=study, trial=first)
        epoch = autotune.Epoch(at=2.0, images=100, metrics={"accuracy": 0.9})
        plugins.notify("autotune_epoch_finished", study=study, trial=first, epoch=epoch)
        plugins.notify("autotune_trial_finished", study=study, trial=first)
        plugins.notify("autotune_trial_finished", study=study, trial=study.trials[3])
        plugins.notify("autotune_study_finished", study=study)


def test_plain_lines_where_there_is_no_terminal(mixed):
    """Trial, epoch, score, best so far, speed and time left, one line for each thing that happens."""
    stream = io.StringIO()
    show(Live(stream), mixed)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "going on after 5 trials, 1m40s spent"
    assert lines[1] == "trial 1: backbone=timm/b lr=0.01 drop=0.1"
    assert lines[2].startswith("  trial 1, epoch 2, accuracy 0.9, best 0.9 (trial 1), 25 images/s, 13m")
    assert lines[3] == "trial 1 complete, accuracy 0.9"
    assert lines[4] == "trial 3 failed: oom: 8 GiB | are not enough"
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_a_panel(mixed):
    """On a terminal the status line is redrawn, and what has happened stays."""
    stream = Terminal()
    show(Live(stream), mixed)
    text = stream.getvalue()
    assert "\x1b[" in text
    assert "trial 1 complete, accuracy 0.9" in text
    assert "trial 3 failed" in text


def test_without_an_end_in_time_none_is_shown(mixed):
    """A study that is counted in trials shows how many, and no time left."""
    stream = io.StringIO()
    show(Live(stream), dataclasses.replace(mixed, time=None, wanted=7))
    assert " left" not in stream.getvalue()
    assert "trial 1 of 7" in stream.getvalue()


def test_looking_at_images_is_silent_when_quick():
    """Progress is told only where it takes a while."""
    stream = io.StringIO()
    looking = Looking(stream)
    for i in range(100):
        looking(i + 1, 100)
    assert stream.getvalue() == ""


def test_looking_at_many_images_is_told(monkeypatch):
    """After a while the count is told: in place on a terminal, in lines elsewhere."""
    now = iter(range(0, 10_000, 20))
    monkeypatch.setattr("autotune.reporting.live.time.monotonic", lambda: float(next(now)))
    stream, terminal = io.StringIO(), Terminal()
    for screen in (stream, terminal):
        looking = Looking(screen)
        for i in (1000, 2000, 3000):
            looking(i, 3000)
    assert stream.getvalue().splitlines() == [
        "looking at the images: 1,000 of 3,000",
        "looking at the images: 2,000 of 3,000",
    ]
    assert terminal.getvalue().startswith("\rlooking at the images: 1,000 of 3,000\r")
    assert terminal.getvalue().endswith("\r")


def test_what_was_chosen_after_the_opening_is_told(mixed):
    """Reasons that came with the measuring, e.g. the epochs, are printed; those told before are not repeated."""
    stream = io.StringIO()
    config = {**mixed.config, "made": {"reasons": ["img_size 64: small images", "7 epochs a trial: measured"]}}
    fresh = dataclasses.replace(mixed, trials=(), config=config)
    with Live(stream, said=["img_size 64: small images"]) as live:
        live.autotune_study_started(fresh)
    assert stream.getvalue() == "  7 epochs a trial: measured\n"


def batch(tmp_path, states, *, at=3.0):
    """A study with a batch of which so many trials are in so many states."""
    names = [name for name, count in states.items() for _ in range(count)]
    curve = tuple(autotune.Point(at=float(a), metrics={"accuracy": 0.1}, images=100, seconds=0.5) for a in (1, 2))
    trials = []
    for number, state in enumerate(names):
        last = autotune.Point(at=at, metrics={"accuracy": 0.5 + number / 100}, images=100, seconds=0.5)
        failure = autotune.Failure(kind="diverged", reason="the loss is nan") if state == "failed" else None
        score = None if failure else 0.5 + number / 100
        trials.append(
            autotune.Trial(
                number=number, state=state, batch=0, curve=(*curve, last), value=score, failure=failure,
                metrics={} if failure else {"accuracy": score}, recipe={"lr": 0.1 * (number + 1), "opt": "sgd"},
            )
        )  # fmt: skip
    objective = Objective((Goal.of("accuracy"),))
    return autotune.Study(
        name="s", path=tmp_path, state="open", objective=objective, trials=tuple(trials), best=None, config={},
        spent=1.0, wanted=5,
    )  # fmt: skip


def test_a_batch_is_one_line_an_epoch(tmp_path):
    """All trials of a batch tell of their start, epochs and ends; what is shown is one line for each."""
    stream = io.StringIO()
    live, plugins = Live(stream), load_plugins()
    plugins.register(live, "live")
    with live:
        running = batch(tmp_path, {"running": 8})
        for trial in running.trials:
            plugins.notify("autotune_trial_started", study=running, trial=trial)
        for at in (3.0, 4.0):
            running = batch(tmp_path, {"running": 8}, at=at)
            for trial in running.trials:
                epoch = autotune.Epoch(at=at, images=100, metrics=trial.metrics)
                plugins.notify("autotune_epoch_finished", study=running, trial=trial, epoch=epoch)
        halved = batch(tmp_path, {"pruned": 3, "failed": 2, "running": 3})
        for trial in halved.trials[:5]:
            plugins.notify("autotune_trial_finished", study=halved, trial=trial)
        over = batch(tmp_path, {"pruned": 3, "failed": 2, "complete": 3})
        for trial in over.trials[5:]:
            plugins.notify("autotune_trial_finished", study=over, trial=trial)
    assert stream.getvalue().splitlines() == [
        "trials 0-7: lr=0.1..0.8 opt=sgd",
        "  trials 0-7 (1 of 5), epoch 3, accuracy 0.57 best of 8, best 0.57 (trial 7), 25 images/s",
        "  trials 0-7 (1 of 5), epoch 4, accuracy 0.57 best of 8, best 0.57 (trial 7), 25 images/s",
        "trials 0-7: 3 pruned, 2 failed, 3 running, best accuracy 0.57 (trial 7)",
        "trial 3 failed: diverged: the loss is nan",
        "trials 0-7: 3 complete, 3 pruned, 2 failed, best accuracy 0.57 (trial 7)",
    ]


def test_a_batch_that_waits_says_why_once(tmp_path):
    """A paused batch says how many of it wait, and for what."""
    stream = io.StringIO()
    live, plugins = Live(stream), load_plugins()
    plugins.register(live, "live")
    paused = batch(tmp_path, {"pruned": 2, "running": 4})
    waits = tuple(dataclasses.replace(t, reason="waits: SIGINT came at epoch 3 of 9") for t in paused.trials)
    paused = dataclasses.replace(paused, trials=waits)
    with live:
        for trial in paused.trials[2:]:
            plugins.notify("autotune_trial_finished", study=paused, trial=trial)
    assert stream.getvalue() == "trials 0-5: 2 pruned, 4 running: waits: SIGINT came at epoch 3 of 9\n"
