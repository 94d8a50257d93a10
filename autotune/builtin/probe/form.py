"""What a head is, beside its tensors: as facts in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autotune import CheckpointError
from autotune.builtin.probe.recipe import ProbeRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The kind of a head, its sizes, and what it reads of the recipe.

    Attributes:
        kind: One of the recipe's heads.
        features: Length of the vectors that it reads, D.
        classes: How many classes it tells apart, C.
        images: Training images that it keeps, N; 0 where it keeps none.
        hidden: Hidden units.
        drop: Dropout while it is trained.
        smoothing: Share of the votes that is spread over all classes.
        k: Images that vote.
        temperature: Divides similarities.
        distance: By what class means are near.
    """

    kind: str
    features: int
    classes: int
    images: int
    hidden: int
    drop: float
    smoothing: float
    k: int
    temperature: float
    distance: str

    @classmethod
    def of(cls, recipe: ProbeRecipe, *, features: int, classes: int, images: int) -> Form:
        """The form that a recipe asks for.

        Args:
            recipe: The recipe.
            features: Length of the vectors.
            classes: How many there are.
            images: Training images.
        """
        return cls(
            kind=recipe.head,
            features=features,
            classes=classes,
            images=images if recipe.head == "knn" else 0,
            hidden=recipe.hidden,
            drop=recipe.drop,
            smoothing=recipe.smoothing,
            k=recipe.k,
            temperature=recipe.temperature,
            distance=recipe.distance,
        )

    def to_facts(self) -> dict[str, Any]:
        """As json types."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Form:
        """The inverse of `to_facts`, from a checkpoint's facts.

        Raises:
            CheckpointError: They are of another version.
        """
        try:
            return cls(**facts["head"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"probe: the checkpoint does not describe its head as this version does ({error})",
                hint="use the version of autotune that wrote it: " + str(facts.get("autotune", "not recorded")),
            ) from error
