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


@pytest.mark.parametrize(
    ("word", "hint"),
    [("runs=elsewhere", "--runs elsewhere"), ("per_gpu=2", "--per-gpu 2"), ("workers=4", "--workers 4"),
     ("json=1", "--json"), ("quiet=yes", "--quiet")],
)  # fmt: skip
def test_an_option_written_as_a_key_is_told(call, word, hint):
    """It is no key of a study; the remedy is the option, as it has to be written."""
    said = call("search", "digits", word)
    assert said.code == 2
    assert (
        said.err
        == f"error: {word}: {word.split('=')[0]} is an option of this command, not a key of a study\n  {hint}\n"
    )
