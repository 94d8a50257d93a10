"""CMA-ES without a memory of its own: the distribution is worked out anew from the finished trials.

Optuna's own sampler keeps its state as a pickle in the journal, and a study's folder holds no pickles. The
method is Hansen's (arXiv:1604.00772), by the package ``cmaes``. Numbers are searched in the unit cube, on a
log scale where their range has one; choices are drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from cmaes import CMA
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

SIGMA = 1 / 6


class EvolutionSampler(BaseSampler):
    """Samples all numbers together by CMA-ES.

    Args:
        seed: The seed for this one trial.
    """

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The numbers with more than one value that every finished trial has."""
        done = _finished(study)
        if not done:
            return {}
        return {
            name: found
            for name, found in sorted(done[-1].distributions.items())
            if not isinstance(found, CategoricalDistribution)
            and not found.single()
            and all(name in t.params for t in done)
        }

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One draw from the distribution that the generations so far have shaped."""
        if len(search_space) < 2:
            return {}
        sign = -1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1.0
        told = [(_to_cube(t.params, search_space), sign * float(t.value or 0.0)) for t in _finished(study)]
        size = len(search_space)
        bounds = np.array([[0.0, 1.0]] * size)
        shape = CMA(mean=np.full(size, 0.5), sigma=SIGMA, bounds=bounds, seed=self._seed)
        for start in range(0, len(told) - shape.population_size + 1, shape.population_size):
            shape.tell(told[start : start + shape.population_size])
        return _from_cube(shape.ask(), search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random draw, for choices and for the first trial."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def _finished(study: optuna.Study) -> Sequence[FrozenTrial]:
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda t: (t.datetime_complete, t.number))


def _to_cube(params: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> npt.NDArray[np.float64]:
    point = []
    for name, found in space.items():
        low, high, log = _range(found)
        value = min(max(float(params[name]), low), high)
        point.append(math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low))
    return np.array(point)


def _from_cube(point: npt.NDArray[np.float64], space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for (name, found), share in zip(space.items(), point, strict=True):
        low, high, log = _range(found)
        value = low * (high / low) ** float(share) if log else low + (high - low) * float(share)
        step = found.step if isinstance(found, (FloatDistribution, IntDistribution)) else None
        if step is not None and not log:
            value = low + round((value - low) / step) * step
        value = min(max(value, low), high)
        values[name] = round(value) if isinstance(found, IntDistribution) else value
    return values


def _range(found: BaseDistribution) -> tuple[float, float, bool]:
    if not isinstance(found, (FloatDistribution, IntDistribution)):
        raise TypeError(f"{found} is no range of numbers")
    return float(found.low), float(found.high), found.log
