"""What commands share of their words."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.cli.options import split_data


@pytest.mark.parametrize(
    ("words", "data", "rest"),
    [
        ((), None, ()),
        (("digits",), "digits", ()),
        (("time=5m",), None, ("time=5m",)),
        (("digits", "time=5m"), "digits", ("time=5m",)),
        (("cats", "dogs", "time=5m", "x"), ("cats", "dogs"), ("time=5m", "x")),
        (("torchvision:X:size=5", "time=5m"), "torchvision:X:size=5", ("time=5m",)),
        (("data=torchvision:X:size=5",), None, ("data=torchvision:X:size=5",)),
        (("a=b", "dogs"), ("a=b", "dogs"), ()),
    ],
)
def test_the_data_are_the_first_words(tmp_path, monkeypatch, words, data, rest):
    """All words up to the first key=value are places; a folder with an equals sign, or options, is one too."""
    monkeypatch.chdir(tmp_path)
    Path("a=b").mkdir()
    assert split_data(words) == (data, rest)
