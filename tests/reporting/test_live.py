"""The live display."""

from __future__ import annotations

import dataclasses
import io

import autotune
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
