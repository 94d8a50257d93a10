"""How candidates that were looked at are shown, apart from the trials that train."""

from __future__ import annotations

import csv
import dataclasses
import io

import pytest

import autotune
from autotune.plugins import load_plugins
from autotune.reporting import messages
from autotune.reporting.live import Live
from autotune.reporting.numbers import counts, effects, ranking, seconds_by_state
from autotune.reporting.records import study_record
from autotune.reporting.report import report, trials_csv
from autotune.reporting.screenings import line


def screening(number, backbone, scores, *, state="complete", reason=None, failure=None):
    """A look at a candidate."""
    metrics = {**scores, "seconds_per_image": 0.0031} if scores else {}
    curve = (autotune.Point(at=1.0, metrics=metrics, images=400, seconds=2.0),) if scores else ()
    return autotune.Trial(
        number=number, state=state, stage="screen", curve=curve, metrics=metrics, recipe={"backbone": backbone},
        sampled={"backbone": backbone}, seconds=3.0, reason=reason, failure=failure,
    )  # fmt: skip


@pytest.fixture
def screened(mixed):
    """The mixed study, after four looks: two kept, one left out, one that failed."""
    failure = autotune.Failure(kind="oom", reason="8 GiB are not enough")
    looks = (
        screening(10, "timm/b", {"knn": 0.81, "linear": 0.86}),
        screening(11, "timm/a", {"knn": 0.82, "linear": 0.84}),
        screening(12, "timm/c", {"knn": 0.31, "linear": 0.36}),
        screening(13, "timm/d", None, state="failed", failure=failure),
    )
    made = {"reasons": ["timm/c: left out: 0.500 behind the best"], "screened": ["timm/a", "timm/b", "timm/c"]}
    config = {**mixed.config, "backbones": ["timm/a", "timm/b"], "made": made}
    return dataclasses.replace(mixed, trials=(*mixed.trials, *looks), config=config)


def test_the_report_shows_every_candidate_once(screened):
    """Scores, cost and fate, those that are searched first; failures with their reason."""
    lines = report(screened).splitlines()
    start = lines.index("## Candidates")
    rows = [line.strip("| ").split(" | ") for line in lines[start:] if line.startswith("| 1")][:4]
    assert [row[:2] for row in rows] == [["11", "timm/a"], ["10", "timm/b"], ["12", "timm/c"], ["13", "timm/d"]]
    assert rows[0][2:7] == ["0.82", "0.84", "3.1 ms", "3s", "searched"]
    assert rows[2][6] == "left out"
    assert "oom: 8 GiB are not enough" in lines[start + 9]
    text = "\n".join(lines)
    assert "- trials: 5 (" in text
    assert "- before them, 4 candidates looked at" in text
    assert "| looks at candidates | 12s |" in text


def test_screenings_are_in_no_ranking(screened, mixed):
    """Neither the ranking nor what mattered, neither counts nor times by state know them."""
    assert ranking(screened) == ranking(mixed)
    assert effects(screened) == effects(mixed)
    assert counts(screened) == counts(mixed)
    assert seconds_by_state(screened) == seconds_by_state(mixed)
    assert screened.leader == mixed.leader


def test_commands_tell_them_apart(screened):
    """``status`` says how many candidates were looked at, ``trials`` has a table of its own for them."""
    assert "before the search: 4 candidates looked at" in messages.status(screened)
    above, below = messages.trials(screened, screened.trials).split("\n\n")
    assert above.splitlines()[0].split()[:4] == ["trial", "candidate", "knn", "linear"]
    assert len(above.splitlines()) == 5
    assert len(below.splitlines()) == 6
    assert messages.trials(screened, screened.trained) == below
    record = study_record(screened)
    assert (record["trials"]["total"], record["trials"]["screened"]) == (5, 4)


def test_a_look_that_is_under_way_is_said(mixed):
    """Before it is settled nobody is called left out."""
    one = screening(0, "timm/a", {"knn": 0.5})
    two = dataclasses.replace(screening(1, "timm/b", None), state="running")
    open_ = dataclasses.replace(mixed, trials=(one, two))
    assert "running: a look at timm/b" in messages.status(open_)
    assert "left out" not in messages.trials(open_, open_.trials)


def test_the_csv_has_their_scores(screened):
    """A line each, of stage screen, with the scores as columns and no value."""
    rows = list(csv.DictReader(io.StringIO(trials_csv(screened))))
    (row,) = [row for row in rows if row["number"] == "10"]
    assert (row["stage"], row["value"], row["metrics.linear"]) == ("screen", "", "0.86")
    assert float(row["metrics.seconds_per_image"]) == 0.0031


def test_the_live_display_tells_looks_and_then_what_was_settled(screened):
    """One line a candidate, then the reasons that came of them, before the first trial that trains."""
    stream = io.StringIO()
    live, plugins = Live(stream, said=["img_size 96: the images are small"]), load_plugins()
    plugins.register(live, "live")
    before = dataclasses.replace(screened, trials=(), config={"made": {"reasons": []}}, time=None)
    looks = dataclasses.replace(before, trials=screened.screened)
    settled = dataclasses.replace(screened, time=None, wanted=7)
    with live:
        plugins.notify("autotune_study_started", study=before)
        for look in looks.trials:
            plugins.notify("autotune_trial_started", study=looks, trial=look)
            plugins.notify("autotune_trial_finished", study=looks, trial=look)
        plugins.notify("autotune_trial_started", study=settled, trial=settled.trials[0])
        plugins.notify("autotune_trial_started", study=settled, trial=settled.trials[1])
    assert stream.getvalue().splitlines() == [
        "looked at timm/b: knn 0.81, linear 0.86, 3.1 ms an image",
        "looked at timm/a: knn 0.82, linear 0.84, 3.1 ms an image",
        "looked at timm/c: knn 0.31, linear 0.36, 3.1 ms an image",
        "could not look at timm/d: oom: 8 GiB are not enough",
        "  timm/c: left out: 0.500 behind the best",
        "trial 0: backbone=timm/a lr=0.001 drop=0.1",
        "trial 1: backbone=timm/b lr=0.01 drop=0.1",
    ]


def test_a_look_that_says_nothing_is_no_look():
    """What cut it short, or who says nothing, is told without saying that the candidate was looked at."""
    cut = screening(3, "timm/a", None, state="pruned", reason="not looked at to the end, for want of time")
    assert line(cut) == "timm/a: not looked at to the end, for want of time"


def test_going_on_after_looks_alone_is_said(screened):
    """A study that was stopped before its first trial says what it has."""
    stream = io.StringIO()
    with Live(stream) as live:
        live.autotune_study_started(dataclasses.replace(screened, trials=screened.screened))
    assert stream.getvalue().startswith("going on after 4 candidates looked at, ")
