"""How trials that were trained together are told of."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import pytest

import autotune
from autotune.reporting import batches, messages
from autotune.reporting.live import Live
from autotune.reporting.records import study_record
from autotune.reporting.report import report, trials_csv


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> autotune.Study:
    """A study of two batches of six, half of them pruned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        runs = tmp_path_factory.mktemp("runs")
        return autotune.search("digits", trainer="toy", trials=2, epochs=4, runs=runs, fixed={"together": 6})


def test_a_search_of_batches_hands_over_its_best(searched: autotune.Study) -> None:
    """The winner may be any member, and its model predicts; the total counts batches."""
    assert searched.state == "done"
    assert len(searched.trials) == 12
    assert batches.counted(searched) == 2
    assert searched.best is not None
    assert searched.best.trial.value == pytest.approx(max(t.value or 0.0 for t in searched.trials), abs=0.05)
    assert searched.best.load().classes


def test_the_report_says_what_counts(searched: autotune.Study) -> None:
    """The head names the trials that were trained with another one; those pruned in a batch share a row."""
    text = report(searched)
    assert "- trials: 12 (" in text
    assert "- 10 of them were trained together with another one; a batch counts as one" in text
    pruned = [t for t in searched.trials if t.state == "pruned" and t.follows]
    rows = [line for line in text.splitlines() if "in their batch" in line]
    assert sum(int(row.split()[1]) for row in rows) == len(pruned) > 0
    assert all(f"| {t.number} | pruned" not in text for t in pruned)


def test_the_table_of_trials_has_all(searched: autotune.Study) -> None:
    """Every trial is a line of trials.csv, with the trial that leads its batch."""
    rows = list(csv.DictReader(io.StringIO(trials_csv(searched))))
    assert [row["batch"] for row in rows] == ["0"] * 6 + ["6"] * 6
    assert len(messages.trials(searched, searched.trials).splitlines()) == 13


def test_the_status_counts_a_batch_as_one(searched: autotune.Study) -> None:
    """How many are wanted is compared with batches; a running batch is one line."""
    assert "12 trials (2 of 2 with each batch as one)" in messages.status(searched)
    assert study_record(searched)["trials"]["counted"] == 2
    running = dataclasses.replace(
        searched, trials=tuple(dataclasses.replace(t, state="running") for t in searched.trials[:6])
    )
    lines = [line for line in messages.status(running).splitlines() if line.startswith("running")]
    assert len(lines) == 1
    assert lines[0].startswith("running: trials 0-5, ")


def test_ranges_of_recipes(tmp_path: Path) -> None:
    """Numbers become a range, texts are listed, and what is equal is said once."""
    recipes = [{"lr": 0.1, "opt": "sgd", "n": 3}, {"lr": 0.01, "opt": "adam", "n": 3}]
    trials = [autotune.Trial(number=i, state="running", recipe=r) for i, r in enumerate(recipes)]
    assert batches.recipe_line(trials) == "lr=0.01..0.1 opt=sgd|adam n=3"
    assert batches.recipe_line(trials[:1], most=2) == "lr=0.1 opt=sgd ..."
    assert batches.name(trials) == "trials 0-1"
    assert batches.name(trials[1:]) == "trial 1"


def test_batches_between_which_other_workers_took_numbers() -> None:
    """Numbers that are not there are not named."""
    trials = [autotune.Trial(number=i, state="running") for i in (2, 3, 4, 7, 9, 10)]
    assert batches.name(trials) == "trials 2-4, 7, 9-10"
    assert batches.name([trials[0], trials[3]]) == "trials 2, 7"


def test_a_trial_that_continues_another_says_so(searched: autotune.Study) -> None:
    """It has the other's recipe, and would look like a copy; why it waits is said once."""
    last = dataclasses.replace(
        searched.trials[0], number=12, stage="final", parent=3, batch=None, state="running", reason="waits: the time"
    )
    study = dataclasses.replace(searched, trials=(*searched.trials, last))
    assert messages.trials(study, study.trials).splitlines()[-1].endswith("continues trial 3; waits: the time")
    assert [line for line in messages.status(study).splitlines() if line.startswith("running")] == [
        f"running: trial 12, {last.curve[-1].at:g} epochs, waits: the time"
    ]
    stream = io.StringIO()
    with Live(stream) as live:
        live.autotune_trial_started(study, last)
    assert stream.getvalue().startswith("trial 12 continues trial 3: ")
