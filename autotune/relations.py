"""How tasks relate: by how alike their images are, and by how alike candidates rank on them.

A past study teaches as far as it relates to today's task, and never the wrong way round: a study whose candidates rank
the other way counts for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

from autotune.data import Data
from autotune.space import Scalar

LEAST_SHARED = 3
"""Backbones in common from which on their ranks say something."""
ALIKE = 0.25
"""Ten times as many images, classes or pixels make two tasks 0.56 alike, a hundred times as many 0.32."""
OTHER_COLOURS = 0.7
"""How alike grey images and images in colour are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What the images of a task are like; of several tasks together, that of all their images.

    Attributes:
        images: Training images.
        classes: Classes.
        resolution: Short side of a typical image, in pixels.
        grey: Whether the three channels of every image are equal.
    """

    images: int
    classes: int
    resolution: int
    grey: bool

    @classmethod
    def of(cls, data: Data) -> Description:
        """The description of what a trainer is given."""
        profiles = [task.profile for task in data.tasks]
        return cls(
            images=sum(len(task.train) for task in data.tasks),
            classes=sum(len(task.classes) for task in data.tasks),
            resolution=min(min(profile.height[1], profile.width[1]) for profile in profiles),
            grey=all(profile.grey for profile in profiles),
        )

    @classmethod
    def read(cls, facts: object) -> Description | None:
        """The inverse of `facts`; None for anything else."""
        if not isinstance(facts, Mapping):
            return None
        numbers = [facts.get(name) for name in ("images", "classes", "resolution")]
        if not all(type(n) is int and n > 0 for n in numbers) or not isinstance(facts.get("grey"), bool):
            return None
        return cls(images=facts["images"], classes=facts["classes"], resolution=facts["resolution"], grey=facts["grey"])

    def facts(self) -> dict[str, Any]:
        """As TOML types."""
        return asdict(self)

    def similarity(self, other: Description) -> float:
        """How alike the images of two tasks are: 1 where all that is known of them is equal, else between 0 and 1."""
        pairs = [
            (self.images, other.images),
            (self.classes, other.classes),
            (self.resolution, other.resolution),
        ]
        alike = 1.0 if self.grey == other.grey else OTHER_COLOURS
        for one, two in pairs:
            alike *= (min(one, two) / max(one, two)) ** ALIKE
        return alike


@dataclass(frozen=True, slots=True, kw_only=True)
class PastStudy:
    """What a finished study teaches.

    Attributes:
        name: What messages call it: its folder.
        trainer: What trained.
        description: What its images are like.
        scores: How well each backbone did on its images without being trained, the higher the better; of a study
            without screenings, the best that a head alone came to.
        recipes: Its good recipes, the best first, every hyperparameter of each.
        places: The place of each of them among all that ran to their end, from 0; equals share the mean of theirs, so
            that a study in which many came to the same says little. By default the recipes' order.
        model: Its best model, as the name of a backbone; None where there is none.
    """

    name: str
    trainer: str
    description: Description
    scores: Mapping[str, float]
    recipes: tuple[Mapping[str, Scalar], ...] = ()
    places: tuple[float, ...] = ()
    model: str | None = None

    @property
    def placed(self) -> tuple[tuple[float, Mapping[str, Scalar]], ...]:
        """Each recipe with its place."""
        return tuple(zip(self.places or range(len(self.recipes)), self.recipes, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The past studies that a person named.

    Attributes:
        studies: Those that are finished.
        reasons: Why others are left out, one line each.
    """

    studies: tuple[PastStudy, ...] = ()
    reasons: tuple[str, ...] = ()


Recall: TypeAlias = Callable[[str, Path], Past]
"""Reads the past studies at a place, but for the one in a folder: a study does not learn from itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """How a past study relates to today's task.

    Attributes:
        past: The study.
        similarity: How alike the images are, 0 to 1.
        shared: Backbones that were looked at in both.
        agreement: Kendall's tau-b between their ranks, -1 to 1; None where there are fewer than three of them.
    """

    past: PastStudy
    similarity: float
    shared: int
    agreement: float | None

    @property
    def weight(self) -> float:
        """How much the study counts, 0 to 1: never negative."""
        return self.similarity if self.agreement is None else max(0.0, self.agreement) * self.similarity

    @property
    def reason(self) -> str:
        """One line for a person."""
        images = f"the images are {self.similarity:.2f} alike"
        if self.agreement is None:
            told = f"{images}, and fewer than {LEAST_SHARED} backbones were looked at in both"
        else:
            told = f"{self.shared} backbones agree in rank by {self.agreement:.2f}, {images}"
        return f"past study {self.past.name}: weight {self.weight:.2f}: {told}"


def relate(today: Description, scores: Mapping[str, float], past: PastStudy) -> Relation:
    """How a past study relates to today's task.

    Args:
        today: What today's images are like.
        scores: How well each backbone does on them without being trained.
        past: The study.
    """
    shared = [name for name in scores if name in past.scores]
    agreement = None
    if len(shared) >= LEAST_SHARED:
        agreement = tau([scores[name] for name in shared], [past.scores[name] for name in shared])
    return Relation(past=past, similarity=today.similarity(past.description), shared=len(shared), agreement=agreement)


def tau(one: Sequence[float], two: Sequence[float]) -> float:
    """Kendall's tau-b between two rankings of the same things: 1 agrees, -1 is reversed; 0 if one has ties only."""
    agree, ties, untied = 0, [0, 0], 0
    for (a, b), (c, d) in combinations(zip(one, two, strict=True), 2):
        first, second = (a > c) - (a < c), (b > d) - (b < d)
        agree += first * second
        ties[0] += first == 0
        ties[1] += second == 0
        untied += 1
    scale = (untied - ties[0]) * (untied - ties[1])
    return float(agree / scale**0.5) if scale else 0.0


def ranks(scores: Mapping[str, float]) -> dict[str, float]:
    """Where each name stands among the others, from 0, the worst, to 1, the best; ties share, one alone has 0.5."""
    others = len(scores) - 1
    found = {}
    for name, score in scores.items():
        beaten = sum((score > s) + 0.5 * (score == s) for n, s in scores.items() if n != name)
        found[name] = beaten / others if others else 0.5
    return found


def history(relations: Iterable[Relation]) -> dict[str, float]:
    """Where each backbone stood in past studies, 0 to 1: the mean of its ranks, weighed by how the studies relate."""
    total: dict[str, float] = {}
    weight: dict[str, float] = {}
    for relation in relations:
        if relation.weight > 0 and len(relation.past.scores) > 1:
            for name, rank in ranks(relation.past.scores).items():
                total[name] = total.get(name, 0.0) + relation.weight * rank
                weight[name] = weight.get(name, 0.0) + relation.weight
    return {name: total[name] / weight[name] for name in total}


def with_learned(
    portfolio: Sequence[Mapping[str, Scalar]], learned: Iterable[Mapping[str, Scalar]]
) -> tuple[Mapping[str, Scalar], ...]:
    """The first recipe, then what was learned, known recipes among it, then the others; each once."""
    found = list(portfolio[:1])
    for recipe in (*learned, *portfolio[1:]):
        if recipe not in found:
            found.append(recipe)
    return tuple(found)
