"""Optuna's samplers by name, made anew for every trial.

A sampler's seed derives from the study's seed and the trial's place in the study, and everything else that
it knows comes from the journal. So a study that was interrupted samples what an undisturbed one samples.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler

from autotune.errors import UnknownName, UsageError
from autotune.objective import Objective
from autotune.space import Choice, SearchSpace

POPULATION = 16


def derived_seed(*parts: object) -> int:
    """A seed of 31 bits out of anything that has a stable text; near inputs give unrelated seeds."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") >> 1


def make_sampler(name: str, *, seed: int, place: int) -> BaseSampler:
    """The sampler for one trial.

    Args:
        name: ``tpe``, ``random``, ``gp``, ``cmaes``, ``qmc`` or ``nsga2``.
        seed: The study's seed.
        place: How many trials came before.

    Raises:
        UnknownName: There is no such sampler.
    """
    if name not in _SAMPLERS:
        raise UnknownName("sampler", name, _SAMPLERS)
    return _SAMPLERS[name](derived_seed("sampler", seed, place), seed)


def _evolution(seed: int) -> BaseSampler:
    from autotune.engine.evolution import EvolutionSampler  # imports scipy, which reading a study should not wait for

    return EvolutionSampler(seed=seed)


def check_sampler(name: str, space: SearchSpace, objective: Objective) -> None:
    """Checks that a sampler can do what a study asks of it.

    Raises:
        UnknownName: There is no such sampler.
        UsageError: It cannot.
    """
    if name not in _SAMPLERS:
        raise UnknownName("sampler", name, _SAMPLERS)
    if name != "cmaes":
        return
    if len(objective.goals) > 1:
        goals = ", ".join(g.metric for g in objective.goals)
        raise UsageError(
            f"sampler 'cmaes' follows one goal, not {len(objective.goals)} ({goals})",
            hint="take sampler=nsga2, tpe or gp, or one metric",
        )
    if objective.limits:
        raise UsageError(
            "sampler 'cmaes' does not know limits", hint="take sampler=tpe, gp or nsga2, or leave the limits out"
        )
    numbers = [n for n, d in space.items() if not isinstance(d, Choice)]
    if len(numbers) < 2:
        raise UsageError(
            f"sampler 'cmaes' needs two or more hyperparameters that are numbers; the space has {len(numbers)}",
            hint="take sampler=tpe, or widen the space",
        )


def _qmc(seed: int, study_seed: int) -> BaseSampler:
    # the sequence is one and the same for all trials of a study, so its scrambling has the study's seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # it has been the same since Optuna 3.0
        return QMCSampler(
            scramble=True,
            seed=derived_seed("sequence", study_seed),
            independent_sampler=RandomSampler(seed=seed),
            warn_asynchronous_seeding=False,
            warn_independent_sampling=False,
        )


_SAMPLERS: Mapping[str, Callable[[int, int], BaseSampler]] = {
    "tpe": lambda seed, study_seed: TPESampler(seed=seed),
    "random": lambda seed, study_seed: RandomSampler(seed=seed),
    "gp": lambda seed, study_seed: GPSampler(seed=seed, warn_independent_sampling=False),
    "cmaes": lambda seed, study_seed: _evolution(seed),
    "qmc": _qmc,
    "nsga2": lambda seed, study_seed: NSGAIISampler(seed=seed, population_size=POPULATION),
}
