"""Numbers of bytes in words."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from autotune.byte_sizes import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("said", "nbytes"),
    [("20GB", 20e9), ("500 mb", 5e8), ("1.5GiB", 1.5 * 2**30), ("12", 12), (" 3 kB ", 3000), (0, 0), (7, 7)],
)
def test_what_people_write_is_understood(said, nbytes):
    """Decimal and binary units, and bare numbers, all mean bytes; nought is a limit as well."""
    assert parse_bytes(said) == nbytes


@pytest.mark.parametrize("said", ["", "GB", "-1", -1, "20 potatoes", "1e9", "nan", 1.5, True, None, [1], "1GB2MB"])
def test_what_is_no_number_of_bytes_is_refused_with_a_remedy(said):
    """The message says what to write."""
    with pytest.raises(ValueError, match=r"write e\.g\. 20GB"):
        parse_bytes(said)


@given(st.integers(min_value=0, max_value=10**15))
def test_what_is_shown_can_be_read_and_is_nearly_as_much(nbytes):
    """Three digits are kept, in a form that can be typed."""
    assert parse_bytes(format_bytes(nbytes)) == pytest.approx(nbytes, rel=0.006)


@pytest.mark.parametrize(
    ("nbytes", "shown"),
    [(999, "999 B"), (1234567, "1.23 MB"), (999_999, "1000 kB"), (20 * 10**9, "20 GB"), (5 * 10**15, "5000 TB")],
)
def test_three_digits_and_a_unit_are_shown(nbytes, shown):
    """No exponents, no noughts behind the point."""
    assert format_bytes(nbytes) == shown
