"""The data source ``digits``."""

from __future__ import annotations

import numpy as np
import pytest

import autotune
from autotune.builtin import digits
from autotune.testing import DataSourceSuite

(SPEC,) = digits.autotune_data_sources()


class TestDigits(DataSourceSuite):
    """digits keeps every promise of a data source."""

    spec = SPEC
    location = "digits"


def test_there_are_1797_of_ten_classes():
    """All of scikit-learn's digits are listed, in ten classes."""
    items = list(SPEC.open("digits").items())
    assert len(items) == 1797
    assert {item.label for item in items} == set("0123456789")


def test_shades_fill_the_range():
    """The seventeen shades are spread over 0 to 255, equal in the three channels."""
    source = SPEC.open("digits")
    images = np.stack([source.read(f"{i:04}") for i in range(50)])
    assert images.shape == (50, 8, 8, 3)
    assert images.min() == 0
    assert images.max() == 255
    assert (images[..., :1] == images).all()


def test_a_number_too_high_is_an_error():
    """An image beyond the last is a DataError that says which are there."""
    with pytest.raises(autotune.DataError, match="1796"):
        SPEC.open("digits").read("1797")
