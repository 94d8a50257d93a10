"""Ranges and the space that they span."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from hypothesis import given, strategies as st
from pydantic import Field

import autotune
from autotune import Choice, Float, Int, SearchSpace


class Recipe(autotune.Recipe):
    """A recipe with a dimension of every kind."""

    backbone: Annotated[str, Choice(registry="backbones")] = "timm/a"
    lr: Annotated[float, Float(1e-4, 1e-1, log=True)] = Field(1e-2, gt=0)
    depth: Annotated[int, Int(1, 9, step=2)] = 3
    opt: Annotated[Literal["adamw", "sgd"], Choice()] = "adamw"
    flag: Annotated[bool, Choice((False, True))] = False
    fixed: int = 7


SPACE = SearchSpace.of(Recipe, backbones=("timm/a", "timm/b"))


def test_a_recipe_declares_its_space():
    """Fields with a range are the space's dimensions, in the recipe's order; others are not searched."""
    assert list(SPACE) == ["backbone", "lr", "depth", "opt", "flag"]
    assert SPACE["lr"] == Float(1e-4, 1e-1, log=True)
    assert SPACE["opt"].values == ("adamw", "sgd")
    assert SPACE["backbone"].values == ("timm/a", "timm/b")


@pytest.mark.parametrize("registries", [{}, {"backbones": ()}])
def test_a_choice_without_its_registry_is_left_out(registries):
    """A dimension whose registry is not given, or is empty, is no dimension."""
    assert "backbone" not in SearchSpace.of(Recipe, **registries)


def test_a_choice_without_values_needs_a_literal():
    """Choice() on a plain field is an error that names recipe and field."""

    class Wrong(autotune.Recipe):
        opt: Annotated[str, Choice()] = "x"

    with pytest.raises(autotune.UsageError, match=r"Wrong\.opt"):
        SearchSpace.of(Wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Float(2, 1),
        lambda: Float(0, 1, log=True),
        lambda: Float(-1, 1, log=True),
        lambda: Float(0, float("inf")),
        lambda: Float(float("nan"), 1),
        lambda: Float(0, 1, step=0),
        lambda: Float(1, 2, log=True, step=0.5),
        lambda: Int(2, 1),
        lambda: Int(0, 4, log=True),
        lambda: Int(0, 4, step=0),
        lambda: Int(1, 4, log=True, step=2),
    ],
)
def test_impossible_ranges_are_refused(make):
    """A range that holds nothing, or cannot be sampled as it says, is a UsageError."""
    with pytest.raises(autotune.UsageError):
        make()


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_range_contains_its_ends(a, b):
    """Both ends of a range belong to it, what lies well outside does not."""
    low, high = sorted((a, b))
    dimension = Float(low, high)
    assert dimension.contains(low)
    assert dimension.contains(high)
    assert not dimension.contains(high + max(abs(low), abs(high)) * 1e-6 + 1e-6)


def test_rounding_is_forgiven_at_the_ends():
    """A value that went through text or a logarithm and back is still in its range."""
    assert Float(1e-5, 0.1).contains(0.1 * (1 + 1e-12))


@given(st.integers(-50, 50), st.integers(0, 40), st.integers(1, 7), st.integers(-100, 100))
def test_whole_numbers_count_in_steps(low, length, step, value):
    """A whole number is in its range if counting in steps from the lower end meets it."""
    assert Int(low, low + length, step=step).contains(value) == (value in range(low, low + length + 1, step))


@pytest.mark.parametrize(
    ("dimension", "value"),
    [
        (Float(0, 2), True),
        (Float(0, 2), "1"),
        (Float(0, 2), float("nan")),
        (Int(0, 2), True),
        (Int(0, 2), 1.0),
        (Choice((1, 2)), True),
        (Choice((1, 2)), 1.0),
        (Choice((True, False)), 1),
        (Choice(("a",)), "A"),
    ],
)
def test_types_are_not_mixed_up(dimension, value):
    """True is not 1, text is no number, nan is nowhere."""
    assert not dimension.contains(value)


@given(st.floats(-1e6, 1e6), st.integers(1, 5), st.integers(0, 40))
def test_the_nearest_number_of_a_range_is_one_of_its_own(number, step, width):
    """No other number of the range is nearer, with steps and without."""
    whole = Int(-3, -3 + width, step=step)
    own = range(-3, -2 + width, step)
    assert whole.contains(whole.nearest(number))
    assert abs(whole.nearest(number) - number) == min(abs(n - number) for n in own)
    real = Float(0.0, 0.1 * width, step=0.1 * step)
    near = [0.1 * step * n for n in range(width // step + 1)]
    assert abs(real.nearest(number) - number) == pytest.approx(min(abs(n - number) for n in near), abs=1e-9)
    assert Float(0.0, 1.0).nearest(number) == min(max(number, 0.0), 1.0)


def test_a_recipe_moves_into_a_space():
    """Numbers go to the nearest that there is; what the space does not offer or does not search is left out."""
    recipe = {"lr": 7.0, "depth": 4.2, "opt": "lion", "flag": True, "fixed": 3, "backbone": "timm/b"}
    assert SPACE.nearest(recipe) == {"backbone": "timm/b", "lr": 0.1, "depth": 5, "flag": True}
    assert SPACE.nearest({"lr": True, "depth": "deep", "flag": 1}) == {}
    assert SPACE.nearest({"lr": float("nan"), "depth": float("nan")}) == {}
    assert SPACE.nearest({"lr": float("inf")}) == {"lr": 0.1}


def test_a_space_is_narrowed_without_changing_it():
    """Changing a dimension gives a new space."""
    narrow = SPACE.changed("lr", high=0.01)
    assert narrow["lr"] == Float(1e-4, 0.01, log=True)
    assert SPACE["lr"].high == 0.1
    assert SPACE.changed("opt", values=["sgd"])["opt"].values == ("sgd",)
    assert list(SPACE.without("opt", "flag", "none")) == ["backbone", "lr", "depth"]


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("lrr", {"high": 1}, "'lr'"),
        ("lr", {"hihg": 1}, "'high'"),
        ("opt", {"high": 1}, "values"),
        ("backbone", {"registry": "augmentations"}, "values"),
        ("opt", {"values": []}, "space.opt.values is empty"),
        ("lr", {"high": 1e-9}, "space.lr: low=0.0001 is above high=1e-09"),
        ("lr", {"low": 0}, "space.lr: low=0 must be above 0"),
    ],
)
def test_a_wrong_change_says_where_and_what_was_meant(name, changes, said):
    """A misspelt name or key is met with near matches, an impossible range with its place."""
    with pytest.raises(autotune.UsageError) as caught:
        SPACE.changed(name, **changes)
    assert said in str(caught.value)


def test_misfits_are_found():
    """Values outside their range are named; names that are not searched are no misfits."""
    assert SPACE.misfits({"lr": 1.0, "depth": 3, "opt": "adam", "fixed": 9}) == {"lr": 1.0, "opt": "adam"}


def test_asking_for_a_name_that_is_not_searched():
    """An unknown name is an UnknownName with near matches; `in` just says no."""
    assert "lrr" not in SPACE
    with pytest.raises(autotune.UnknownName, match="did you mean 'lr'"):
        SPACE["lrr"]
