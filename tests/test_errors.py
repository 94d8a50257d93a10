"""Errors: what they say, and the hierarchy as it is drawn."""

from __future__ import annotations

import inspect
import re

import pytest

from autotune import errors
from autotune.errors import AutotuneError, ConfigError, TrialFailure, UnknownName, near_matches

CLASSES = {n: c for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, AutotuneError)}


def test_the_drawing_is_true():
    """The tree at the top of the file shows every class below its base, with its exit code or kind."""
    drawn = {}
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([│├└─ ]*)([A-Z]\w+)\s+(.*)", line):
            depth = len(found[1])
            if found[2] not in CLASSES:
                continue
            stack = [(d, n) for d, n in stack if d < depth]
            drawn[found[2]] = (stack[-1][1] if stack else "Exception", found[3])
            stack.append((depth, found[2]))
    assert drawn.keys() == CLASSES.keys()
    for name, (base, text) in drawn.items():
        assert CLASSES[name].__base__.__name__ == base, name
        if code := re.match(r"exit (\d+)", text):
            assert CLASSES[name].exit_code == int(code[1]), name
        if kind := re.match(r'kind "(\w+)"', text):
            assert CLASSES[name].kind == kind[1], name


def test_exit_codes_tell_errors_apart():
    """Each branch has an exit code of its own."""
    branches = [c for c in CLASSES.values() if c.__base__ is AutotuneError and not issubclass(c, TrialFailure)]
    assert len({c.exit_code for c in branches}) == len(branches)


def test_an_error_has_a_message_and_a_remedy():
    """The text is the message, then the hint."""
    error = AutotuneError("it broke", hint="mend it")
    assert (error.message, error.hint, str(error)) == ("it broke", "mend it", "it broke\nmend it")
    assert str(AutotuneError("it broke")) == "it broke"


def test_all_mistakes_of_a_file_are_in_one_message():
    """A ConfigError counts and lists its problems, and says where they are."""
    error = ConfigError(["time: 'x' is no duration", "trails: unknown key"], where="study.toml")
    assert str(error) == "study.toml: 2 mistakes\n  time: 'x' is no duration\n  trails: unknown key"
    assert str(ConfigError(["a"], where="x")).startswith("x: 1 mistake\n")
    assert error.problems == ("time: 'x' is no duration", "trails: unknown key")


def test_an_unknown_name_proposes_others():
    """Near matches come first, then whatever else might explain it."""
    error = UnknownName("trainer", "clasify", ["toy", "classify"], also="plugin acme was skipped")
    assert str(error) == "no trainer is called 'clasify'\ndid you mean 'classify'?\nplugin acme was skipped"


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ([], "none is installed"),
        (["alpha", "beta"], "known: alpha, beta"),
        ([f"n{i:02}" for i in range(40)], "40 are known, e.g. n00, n01, n02"),
        (["zebra", "zebras"], "did you mean 'zebra' or 'zebras'?"),
    ],
)
def test_near_matches(known, said):
    """Close names are proposed, else few names are listed and many are counted."""
    assert near_matches("zebra", known) == said


@pytest.mark.parametrize("name", [n for n, c in CLASSES.items() if issubclass(c, TrialFailure)])
def test_trial_failures_have_a_known_kind(name):
    """Every failure of a trial has one of the kinds that a study records."""
    assert CLASSES[name].kind in ("oom", "diverged", "data", "plugin", "lost", "timeout")
