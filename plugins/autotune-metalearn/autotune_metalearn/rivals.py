"""Ways to classify from a few images, each a grid of settings that is tuned on tasks of other classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch.nn import functional

from autotune.vision import BoundaryRows
from autotune_metalearn.episodes import Episodes
from autotune_metalearn.fewshot import accuracies, centroid_logits, descend, linear, logistic_logits
from autotune_metalearn.reading import Side
from autotune_metalearn.reptile import Adapting, adapted_accuracies

PREPARED = ("plain", "unit", "centred")
"""How vectors are prepared: as they are, at length 1, or less their mean and at length 1."""
L2 = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
RATES = (0.3, 1.0, 3.0)
"""Times the rate of the meta-training."""
STEPS = (1, 5, 10, 20, 50)


class Rival(Protocol):
    """One way, with all its settings."""

    def scores(self, side: Side, episodes: Episodes, only: str | None) -> Mapping[str, torch.Tensor]:
        """Accuracies float32 [E] on tasks of a side's images, by setting; of all settings, or of one only."""


class Centroids:
    """The nearest class mean (Snell et al. 2017, arXiv:1703.05175).

    Vectors are prepared as by Wang et al. 2019 (SimpleShot, arXiv:1911.04623), in whichever way is best.

    Args:
        tables: Vectors [N, D] of each side's images, on the CPU.
    """

    def __init__(self, tables: Mapping[Side, torch.Tensor]) -> None:
        self.tables = {how: prepared(tables, how) for how in PREPARED}

    def scores(self, side: Side, episodes: Episodes, only: str | None) -> Mapping[str, torch.Tensor]:
        """See `Rival`."""
        found = {}
        for how in PREPARED if only is None else (only,):
            logits = (
                (centroid_logits(support, part.support_labels, query, part.ways), part.query_labels)
                for part, support, query in _vectors(self.tables[how][side], episodes)
            )
            found[how] = _joined(logits)
        return found


class Logistic:
    """Logistic regression with an L2 penalty.

    Args:
        tables: Vectors [N, D] of each side's images, on the CPU.
    """

    def __init__(self, tables: Mapping[Side, torch.Tensor]) -> None:
        self.tables = {how: prepared(tables, how) for how in PREPARED}
        self.settings = {f"{how}, l2 {l2:g}": (how, l2) for how in PREPARED for l2 in L2}

    def scores(self, side: Side, episodes: Episodes, only: str | None) -> Mapping[str, torch.Tensor]:
        """See `Rival`."""
        found = {}
        for name in self.settings if only is None else (only,):
            how, l2 = self.settings[name]
            logits = (
                (logistic_logits(support, part.support_labels, query, part.ways, l2), part.query_labels)
                for part, support, query in _vectors(self.tables[how][side], episodes)
            )
            found[name] = _joined(logits)
        return found


class Descending:
    """A meta-learned head that goes on by plain descent, as in ANIL's inner loop.

    Args:
        tables: Projected vectors [N, D] of each side's images, on the CPU.
        head: Where every task begins.
        rate: Of the meta-training.
    """

    def __init__(self, tables: Mapping[Side, torch.Tensor], head: torch.nn.Linear, rate: float) -> None:
        self.tables = tables
        self.weight, self.bias = head.weight.detach().cpu(), head.bias.detach().cpu()
        self.settings = _descents(rate)

    def scores(self, side: Side, episodes: Episodes, only: str | None) -> Mapping[str, torch.Tensor]:
        """See `Rival`."""
        found: dict[str, list[torch.Tensor]] = {}
        for rate, names in _by_rate(self.settings, only).items():
            for part, support, query in _vectors(self.tables[side], episodes):
                way = descend(support, part.support_labels, self.weight, self.bias, rate=rate, steps=max(names))
                for step, (weights, biases) in enumerate(way, start=1):
                    if step in names:
                        right = accuracies(linear(query, weights, biases), part.query_labels)
                        found.setdefault(names[step], []).append(right)
        return {name: torch.cat(parts) for name, parts in found.items()}


class AdaptingBlocks:
    """A meta-learned head and the blocks beneath it that go on training, as in Reptile's inner loop.

    Args:
        adapting: Where every task begins.
        rows: What crosses the boundary beneath, for each side's images.
        rate: Of the meta-training.
    """

    def __init__(self, adapting: Adapting, rows: Mapping[Side, BoundaryRows], rate: float) -> None:
        self.adapting, self.rows = adapting, rows
        self.settings = _descents(rate)

    def scores(self, side: Side, episodes: Episodes, only: str | None) -> Mapping[str, torch.Tensor]:
        """See `Rival`."""
        found = {}
        for rate, names in _by_rate(self.settings, only).items():
            each = adapted_accuracies(self.adapting, self.rows[side].rows, episodes, rate=rate, at=list(names))
            found |= {names[step]: values for step, values in each.items()}
        return found


def prepared(tables: Mapping[Side, torch.Tensor], how: str) -> Mapping[Side, torch.Tensor]:
    """Vectors of each side, prepared in one of the ways of `PREPARED`; mean and scale are those of ``val``."""
    val = tables["val"]
    if how == "plain":
        scale = val.square().sum(1).mean().sqrt().clamp(min=1e-12)
        return {side: table / scale for side, table in tables.items()}
    centre = val.mean(0) if how == "centred" else torch.zeros_like(val[0])
    return {side: functional.normalize(table - centre, dim=1) for side, table in tables.items()}


def _vectors(table: torch.Tensor, episodes: Episodes) -> Iterator[tuple[Episodes, torch.Tensor, torch.Tensor]]:
    """Some tasks at a time, with the vectors of their support [E, N, D] and of their queries [E, Q, D]."""
    for part in episodes.parts():
        yield part, table[part.support], table[part.query]


def _joined(answers: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    return torch.cat([accuracies(logits, labels) for logits, labels in answers])


def _descents(rate: float) -> dict[str, tuple[float, int]]:
    return {f"rate {rate * r:g}, {n} steps": (rate * r, n) for r in RATES for n in STEPS}


def _by_rate(settings: Mapping[str, tuple[float, int]], only: str | None) -> dict[float, dict[int, str]]:
    """The settings' names by rate and number of steps."""
    found: dict[float, dict[int, str]] = {}
    for name in settings if only is None else (only,):
        rate, steps = settings[name]
        found.setdefault(rate, {})[steps] = name
    return found
