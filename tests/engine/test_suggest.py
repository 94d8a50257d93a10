"""Spaces and samplers."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
import pytest

from autotune import Choice, Float, Int, Recipe, SearchSpace
from autotune.engine.evolution import EvolutionSampler
from autotune.engine.samplers import check_sampler, derived_seed, make_sampler
from autotune.engine.suggest import check_space, clip, complete, distribution, suggest
from autotune.errors import StudyError, UnknownName, UsageError
from autotune.objective import Goal, Limit, Objective

SPACE = SearchSpace(
    {
        "lr": Float(1e-5, 1e-1, log=True),
        "drop": Float(0.0, 0.5, step=0.2),
        "size": Int(32, 100, step=32),
        "batch": Int(8, 64, log=True),
        "opt": Choice(("adamw", "sgd")),
        "flag": Choice((True, False)),
        "mixed": Choice(("off", 1, 0.5)),
        "one": Float(0.3, 0.3),
    }
)
ONE = Objective((Goal("accuracy", "maximize"),))


class Defaults(Recipe):
    """Defaults, some outside the space."""

    lr: float = 1.0
    opt: str = "lion"
    batch: int = 16


@pytest.mark.parametrize("name", ["tpe", "random", pytest.param("gp", marks=pytest.mark.slow), "cmaes", "qmc", "nsga2"])
def test_every_sampler_fills_the_space_without_warnings(name):
    """Each of them gives every hyperparameter a value inside its range, and says nothing."""
    study = optuna.create_study(direction="maximize")
    for place in range(14):
        study.sampler = make_sampler(name, seed=3, place=place)
        trial = study.ask()
        values = suggest(trial, SPACE)
        assert set(values) == set(SPACE)
        assert not SPACE.misfits(values)
        study.tell(trial, -((np.log10(values["lr"]) + 3) ** 2))


def test_seeds_differ_and_stay():
    """A seed is the same for the same place, and another for the next."""
    assert derived_seed("trial", 0, 1) == derived_seed("trial", 0, 1) != derived_seed("trial", 0, 2)
    assert 0 <= derived_seed("x") < 2**31


def test_steps_end_inside_the_range():
    """A stepped range ends at its last step, without Optuna's warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert distribution(SPACE["drop"]).high == 0.4
        assert distribution(SPACE["size"]).high == 96


def test_completion_takes_defaults_and_clips():
    """What a proposal leaves out takes the default; everything is brought into the space."""
    whole = complete({"drop": 0.29, "size": 99}, SPACE, Defaults)
    assert whole["lr"] == 0.1
    assert whole["opt"] == "adamw"
    assert whole["batch"] == 16
    assert whole["drop"] == pytest.approx(0.2)
    assert whole["size"] == 96
    assert not SPACE.misfits(whole)
    assert clip(True, Int(0, 5)) == 0
    assert clip("x", Float(0.1, 1.0)) == 0.1


def test_changed_choices_are_said_before_anything_is_sampled():
    """Optuna cannot let choices change within a study: the error names old and new ones."""
    study = optuna.create_study()
    suggest(study.ask(), SPACE)
    check_space(SPACE, study.trials, "runs/x")
    check_space(SPACE.changed("lr", high=1.0), study.trials, "runs/x")
    with pytest.raises(StudyError, match=r"runs/x: the study began with opt out of \['adamw', 'sgd'\], now"):
        check_space(SPACE.changed("opt", values=("adamw",)), study.trials, "runs/x")


def test_what_cma_es_cannot_do_is_said():
    """It follows one goal, knows no limits, and needs two numbers."""
    check_sampler("cmaes", SPACE, ONE)
    two = Objective((*ONE.goals, Goal("cost", "minimize")))
    with pytest.raises(UsageError, match="one goal, not 2"):
        check_sampler("cmaes", SPACE, two)
    with pytest.raises(UsageError, match="limits"):
        check_sampler("cmaes", SPACE, Objective(ONE.goals, (Limit("cost", 1.0),)))
    with pytest.raises(UsageError, match="two or more"):
        check_sampler("cmaes", SearchSpace({"opt": Choice(("a", "b"))}), ONE)
    with pytest.raises(UnknownName, match="tpe"):
        check_sampler("tpee", SPACE, ONE)
    check_sampler("nsga2", SPACE, two)


def test_cma_es_finds_a_valley_and_keeps_no_pickle():
    """It beats random sampling clearly on a bowl, with a choice beside it, and leaves no state in the journal."""

    def lowest(make):
        study = optuna.create_study(direction="minimize")
        for place in range(120):
            study.sampler = make(place)
            trial = study.ask()
            x = trial.suggest_float("x", -5, 5)
            y = trial.suggest_float("y", 1e-4, 1.0, log=True)
            trial.suggest_categorical("c", ["a", "b"])
            study.tell(trial, (x - 2) ** 2 + (np.log10(y) + 3) ** 2)
        assert not any(t.system_attrs for t in study.trials)
        return study.best_value

    assert lowest(lambda place: EvolutionSampler(seed=place)) < 0.2 * lowest(
        lambda place: optuna.samplers.RandomSampler(seed=place)
    )
