"""Tables, numbers and lengths of time as people read them."""

from __future__ import annotations

import pytest

from autotune.reporting.tables import cell, duration, markdown, number, plain


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.912345, "0.9123"),
        (1.0, "1"),
        (0.0, "0"),
        (1e-5, "1e-05"),
        (0.00012, "0.00012"),
        (12.5, "12.5"),
        (3e7, "3e+07"),
    ],
)
def test_numbers_are_short(value, text):
    """Four digits behind the point, no needless noughts, powers of ten where they are shorter."""
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (True, "yes"), (False, "no"), (3, "3"), ("x", "x"), (0.5, "0.5")]
)
def test_cells(value, text):
    """Nothing is a dash, truth a word."""
    assert cell(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.4, "59s"), (59.6, "1m00s"), (250, "4m10s"), (3900, "1h05m"), (-3, "0s")]
)
def test_lengths_of_time(seconds, text):
    """Seconds, minutes and seconds, hours and minutes."""
    assert duration(seconds) == text


def test_plain_tables_are_aligned():
    """Columns of numbers go to the right, others to the left, nothing trails."""
    assert plain(["name", "n"], [["a", 1], ["bcd", 22]]) == "name   n\na      1\nbcd   22"
    assert plain(["a"], []) == "a"


def test_markdown_tables_escape():
    """A bar or a line break in a cell does not break the table."""
    assert markdown(["a"], [["x|y\nz"]]) == "| a |\n| --- |\n| x\\|y z |"
