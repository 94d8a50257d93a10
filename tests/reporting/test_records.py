"""Records as json types."""

from __future__ import annotations

import json
from pathlib import Path

from autotune.reporting.records import as_json, best_record, study_record, trial_record


def test_a_study_survives_json(study):
    """Study, best and trials become json and stay what they were."""
    record = json.loads(json.dumps(study_record(study), allow_nan=False))
    assert record["trials"]["complete"] + record["trials"].get("pruned", 0) == 4
    assert record["best"]["trial"]["number"] == study.best.trial.number
    assert best_record(study.best)["metrics"] == dict(study.best.metrics)


def test_trials_begin_with_what_matters(mixed):
    """Number, state, value come first; a failure has its kind and reason."""
    record = trial_record(mixed.trials[3])
    assert list(record)[:3] == ["number", "state", "value"]
    assert record["failure"]["kind"] == "oom"
    assert trial_record(mixed.trials[0])["epochs"] == 2


def test_running_trials_are_named(mixed):
    """A study that is under way says which trial runs, and who leads."""
    record = study_record(mixed)
    assert [t["number"] for t in record["running"]] == [4]
    assert record["leader"] == {"number": 1, "value": 0.9}
    assert record["best"] is None


def test_what_json_has_no_word_for():
    """Paths become text, nan becomes null, sets and tuples lists, functions are left out of records."""
    assert as_json({"p": Path("a/b"), "n": float("nan"), "t": (1, 2)}) == {"p": "a/b", "n": None, "t": [1, 2]}
