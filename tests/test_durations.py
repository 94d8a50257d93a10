"""Lengths of time in words."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from autotune.durations import format_duration, format_epochs, format_milliseconds, parse_duration


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("15m", 900), ("1h30m", 5400), ("90s", 90), ("900", 900), (900, 900), (0.5, 0.5), ("1.5h", 5400), (" 2 H ", 7200)],
)
def test_what_people_write_is_understood(said, seconds):
    """Units, several of them, and bare numbers all mean seconds."""
    assert parse_duration(said) == seconds


@pytest.mark.parametrize("said", ["0", 0, -5, "-5m", "15 potatoes", "", "m15", "5m5m", "nan", "inf", True, None, [15]])
def test_what_is_no_length_of_time_is_refused_with_a_remedy(said):
    """Zero, negative, unreadable and unending times are refused, and the message says what to write."""
    with pytest.raises(ValueError, match=r"write e\.g\. 15m"):
        parse_duration(said)


@given(st.integers(min_value=1, max_value=10**9))
def test_whole_seconds_are_written_exactly(seconds):
    """A whole number of seconds survives being written and read."""
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_any_time_is_written_so_that_it_can_be_read(seconds):
    """A fraction survives as well."""
    assert parse_duration(format_duration(seconds)) == seconds


def test_the_shortest_way_is_taken():
    """Ninety minutes are an hour and a half."""
    assert [format_duration(s) for s in (900, 5400, 90, 86400, 1.5)] == ["15m", "1h30m", "1m30s", "24h", "1.5s"]


def test_short_times_are_told_in_milliseconds():
    """Two digits matter, however long it takes, and none is written with an exponent."""
    seconds = (0.00031, 0.0031, 0.0244557, 0.1234, 1.267)
    assert [format_milliseconds(s) for s in seconds] == ["0.31 ms", "3.1 ms", "24 ms", "120 ms", "1300 ms"]


def test_one_epoch_is_singular():
    """And parts of epochs have three digits at most."""
    assert [format_epochs(at) for at in (0.0, 1.0, 2.0, 2.46667)] == ["0 epochs", "1 epoch", "2 epochs", "2.47 epochs"]
