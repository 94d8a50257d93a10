"""The ledger of test sets."""

from __future__ import annotations

import json

import pytest

import autotune
from autotune.after import ledger


def test_openings_are_counted_in_both_places(tmp_path):
    """Every opening stands in the study's ledger and in the machine's, with who, when and with what result."""
    study, cache = tmp_path / "study", tmp_path / "cache"
    assert ledger.opened(study, cache, "abc") == 0
    assert ledger.record(study, cache, "abc", {"accuracy": 0.9}) == 1
    assert ledger.record(study, cache, "abc", {"accuracy": 0.8}) == 2
    for path in (study / "ledger.jsonl", cache / "ledger" / "abc.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["accuracy"] for line in lines] == [0.9, 0.8]
        assert all(line["by"] and line["at"] and line["test"] == "abc" for line in lines)


def test_the_larger_count_holds(tmp_path):
    """A new study on the same images goes on counting, and so does a study that came from another machine."""
    cache = tmp_path / "cache"
    for name in ("a", "b"):
        ledger.record(tmp_path / name, cache, "abc", {})
    assert ledger.opened(tmp_path / "new", cache, "abc") == 2
    assert ledger.opened(tmp_path / "a", tmp_path / "elsewhere", "abc") == 1


def test_other_test_sets_do_not_count(tmp_path):
    """Only openings of the same images count."""
    ledger.record(tmp_path, tmp_path / "cache", "abc", {})
    assert ledger.opened(tmp_path, tmp_path / "cache", "xyz") == 0


def test_a_torn_line_counts_and_is_closed(tmp_path):
    """An opening whose record a crash cut off counts, and the next record stands on its own line."""
    (tmp_path / "ledger.jsonl").write_text('{"test": "abc", "accur')
    assert ledger.record(tmp_path, tmp_path / "cache", "abc", {}) == 2
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == 2


def test_what_cannot_be_recorded_is_refused(tmp_path):
    """Without a record there is no result."""
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(autotune.StudyError, match="cannot be recorded"):
        ledger.record(tmp_path, tmp_path / "cache", "abc", {})
