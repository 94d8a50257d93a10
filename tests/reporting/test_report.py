"""``report.md`` and ``trials.csv``."""

from __future__ import annotations

import csv
import dataclasses
import io

from autotune.reporting.report import next_steps, report, reproduce, trials_csv, write_report


def test_everything_a_reader_asks_is_there(study):
    """Question, winner with its optimistic score, data, ranking, what mattered, time, how to repeat, what next."""
    text = report(study)
    for heading in ("# Study digits", "## Winner", "## Data", "## Ranking", "## What mattered",
                    "## Time", "## Again", "## Next"):  # fmt: skip
        assert f"{heading}" in text
    assert "optimistic" in text
    assert "1,797 images" in text
    assert f"within {study.wanted} trials" in text
    assert reproduce(study, study.best.trial) in text
    assert "--unlock-test" in text


def test_failures_and_pruned_trials_are_told_with_reasons(mixed):
    """Who ended early stands there with why; a bar in a reason does not break the table."""
    text = report(mixed)
    assert "| 2 | pruned | 2 | 0.5 | at epoch 2 it ranks 3 of 4 |" in text
    assert "oom: 8 GiB \\| are not enough" in text
    assert "no trial has a score and a checkpoint" in text
    assert "- img_size 96: the images are small" in text
    assert "- 12 images" in text
    assert "## Again" not in text


def test_every_trial_has_a_line_in_the_csv(mixed):
    """trials.csv holds every trial, failed ones included, with recipe and scores as columns."""
    rows = list(csv.DictReader(io.StringIO(trials_csv(mixed))))
    assert [row["number"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert rows[1]["recipe.backbone"] == "timm/b"
    assert float(rows[1]["metrics.accuracy"]) == float(rows[1]["value"]) == 0.9
    assert (rows[3]["failure"], rows[3]["value"]) == ("oom", "")


def test_a_verdict_on_an_improvement_is_told(study):
    """What `autotune improve` found stands in the report."""
    (study.path / "improvement.json").write_text('{"verdict": "better: 0.9 -> 0.95"}')
    assert "better: 0.9 -> 0.95" in report(study)


def test_both_files_are_written(study):
    """The report and the table lie in the study's folder."""
    (study.path / "report.md").unlink()
    assert write_report(study) == study.path / "report.md"
    assert (study.path / "report.md").read_text() == report(study)
    assert (study.path / "trials.csv").read_text() == trials_csv(study)


def test_paths_with_spaces_can_be_pasted(study):
    """Commands quote what a shell would split."""
    spaced = dataclasses.replace(study, path=study.path.parent / "my study")
    assert "'" in reproduce(spaced, spaced.trials[0])
    assert all("'" in command for command, _ in next_steps(spaced))


def test_going_on_needs_larger_totals(study):
    """The command that extends a study doubles the totals that it has."""
    assert next_steps(study)[-1][0].endswith("trials=8")
    timed = dataclasses.replace(study, time=150.0, wanted=None)
    assert next_steps(timed)[-1][0].endswith("time=5m")
