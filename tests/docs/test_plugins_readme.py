"""``plugins/README.md`` is true: every hook with its signature, every name, every link, every suite."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import autotune
import autotune.testing
from autotune import hookspecs, tracker

ROOT = Path(autotune.__file__).parents[1]
README = (ROOT / "plugins" / "README.md").read_text()
HOOKS = {name: f for name, f in vars(hookspecs).items() if name.startswith("autotune_")}


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_every_hook_stands_there_with_its_signature(name):
    """A hook's signature is in the text, word by word."""
    assert f"`{name}{inspect.signature(HOOKS[name])}`".replace("'", "") in README


def test_no_other_hook_stands_there():
    """The text names no hook that does not exist."""
    assert set(re.findall(r"\bautotune_[a-z]+_?[a-z]+\b", README)) - HOOKS.keys() == {"autotune_acme"}


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_every_hook_is_documented_where_it_is_declared(name):
    """A hook says what it is for, and a hook that offers or decides has an example."""
    assert HOOKS[name].__doc__
    if "finished" not in name and "started" not in name:
        assert "Example:" in HOOKS[name].__doc__


def test_a_tracker_has_every_observer():
    """The base class for observers has the observers, with the same arguments."""
    observers = {n for n in HOOKS if n.endswith(("_started", "_finished"))}
    assert {n for n in vars(tracker.Tracker) if n.startswith("autotune_")} == observers
    for name in observers:
        of_tracker = list(inspect.signature(getattr(tracker.Tracker, name)).parameters)[1:]
        assert of_tracker == list(inspect.signature(HOOKS[name]).parameters)


def test_every_public_name_in_it_exists():
    """Whatever is written as ``autotune.NAME`` is public."""
    named = set(re.findall(r"\bautotune\.([A-Za-z]\w*)", README))
    assert named - {"testing", "vision"} <= set(autotune.__all__)


def test_its_code_is_python():
    """Every example parses."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) > 8
    for block in blocks:
        ast.parse(block)


def test_every_suite_is_in_its_table():
    """The suites in the text are those of the kit."""
    suites = {name for name in autotune.testing.__all__ if name.endswith("Suite")}
    assert set(re.findall(r"^\| `(\w+Suite)`", README, re.MULTILINE)) == suites


def test_every_plugin_of_the_folder_is_in_its_table():
    """Each first-party plugin is listed, and each link leads somewhere."""
    there = {p.parent.name for p in (ROOT / "plugins").glob("*/pyproject.toml")}
    assert there <= set(re.findall(r"\[([\w-]+)\]\(\1\)", README))
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / "plugins" / target).exists(), target
