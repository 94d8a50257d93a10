"""What fills a batch."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pytest
from pydantic import Field, model_validator

from autotune import Float, Int, Recipe
from autotune.engine import run_search
from autotune.engine.drawing import NEAR, draw, even_points

SAME = ("n",)


def test_what_fills_a_batch_depends_on_the_seed_alone(plan, tmp_path):
    """The same study draws the same batch, another seed another one; the good recipes to try first stay as they are."""
    make = lambda runs, **more: run_search(  # noqa: E731
        plan(batch=6, trials=2, epochs=1, runs=tmp_path / runs, first=[{"x": 0.25, "n": 5}], **more)
    )
    one, two, three = make("a"), make("b"), make("c", seed=7)
    assert [(t.recipe, t.seed) for t in one.trials] == [(t.recipe, t.seed) for t in two.trials]
    assert (one.trials[0].recipe["x"], one.trials[0].recipe["n"]) == (0.25, 5)
    assert [t.recipe for t in one.trials] != [t.recipe for t in three.trials]


def test_half_of_a_batch_lies_near_its_leader(plan):
    """Every other member is at most an eighth of the range away, the rest are spread over it."""
    study = run_search(plan(batch=64, same=SAME, trials=1, epochs=1, pruner="none"))
    lead, *rest = [t.recipe["x"] for t in study.trials]
    assert len(rest) == 63
    assert all(abs(x - lead) <= NEAR + 1e-9 for x in rest[1::2])
    far = np.sort(rest[::2])
    assert np.diff([0, *far, 1]).max() < 0.1


def test_points_are_even():
    """In every dimension, 64 points leave no large gap, and another seed begins elsewhere."""
    points = even_points(64, 6, seed=3)
    assert points.shape == (64, 6)
    assert ((points >= 0) & (points < 1)).all()
    for column in points.T:
        assert np.diff(np.concatenate([[0], np.sort(column), [1]])).max() < 0.12
    assert not np.array_equal(points, even_points(64, 6, seed=4))


class Picky(Recipe):
    """Refuses some combinations, and says in which batch it may be."""

    x: Annotated[float, Float(0.0, 1.0)] = Field(0.5, description="The higher the better.")
    n: Annotated[int, Int(1, 9)] = Field(5, description="Above 6 it is trained alone.")

    @model_validator(mode="after")
    def _check(self):
        if self.x > 0.9:
            raise ValueError("x is too high")
        return self


def test_what_does_not_fit_is_left_out(plan):
    """Members that the recipe refuses, or that could not be trained together, are not made."""
    size = lambda recipe: 16 if recipe.n <= 6 else 1  # noqa: E731
    study = run_search(plan(offered=Picky, batch=size, trials=1, epochs=1, sampler="random"))
    assert 2 < len(study.trials) < 16
    assert all(t.recipe["x"] <= 0.9 and t.recipe["n"] <= 6 for t in study.trials)
    assert {t.state for t in study.trials} == {"complete"}


@pytest.mark.parametrize(("time", "members"), [(None, 64), (7200.0, 64), (900.0, 16), (20.0, 1)])
def test_a_short_study_has_small_batches(plan, time, members):
    """An hour or more has room for 64 recipes at once, less time for its share of them."""
    made = plan(batch=100, time=time, trials=1)
    first = made.recipe({"x": 0.5, "n": 3})
    assert 1 + len(draw(made, {"x": 0.5, "n": 3}, first, seed=1)) == members


@pytest.mark.parametrize("how", ["one", "nothing varies", "fixed"])
def test_who_has_no_batch_is_trained_alone(plan, how):
    """Where the trainer takes one, or nothing outside `same` is searched, `fit` is asked."""

    def many(recipes, data, runs):
        raise AssertionError("fit_many is not asked")

    asked = {
        "one": {"batch": lambda recipe: 1},
        "nothing varies": {"batch": 8, "same": ("x", "n")},
        "fixed": {"batch": 8, "same": ("n",), "fixed": {"x": 0.5}},
    }[how]
    study = run_search(plan(many=many, trials=2, epochs=1, **asked))
    assert [(t.state, t.batch) for t in study.trials] == [("complete", None)] * 2


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (lambda recipe: 1 // 0, "batch raised ZeroDivisionError"),
        (lambda recipe: 0.5, "batch returned 0.5, not a whole"),
    ],
)
def test_a_trainer_that_cannot_say_how_many_fails(plan, batch, said):
    """The trial fails, with what is wrong with the trainer's function."""
    (trial,) = run_search(plan(batch=batch, trials=1, epochs=1)).trials
    assert (trial.state, trial.failure.kind) == ("failed", "plugin")
    assert said in trial.failure.reason
