"""What a change of a finished model must pass: images that trained no trial, and a record of what was found."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autotune.after.scores import Logits, Probabilities, logits_of
from autotune.model import Model, softmax
from autotune.objective import DIRECTIONS

if TYPE_CHECKING:
    from autotune.data import Dataset
    from autotune.objective import Objective

FOLDS = 5
FEWEST = 20
"""Images below which nothing is concluded from them."""
SAVING = 1.0
"""Seconds that are left for writing the model down."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was tried on the chosen model after training.

    Attributes:
        name: ``checkpoints``, ``soup`` or ``temperature``.
        kept: Whether the model that is handed over has it.
        what: What was done, or why nothing was, in a few words.
        metric: What had to become better; None where nothing was measured.
        before: Its value without the step.
        after: Its value with the step, where something was fitted, on images that it was not fitted to.
        images: On how many images.
        side: Of which side, ``select`` or ``val``.
        facts: Further figures, json types.
    """

    name: str
    kept: bool
    what: str
    metric: str | None = None
    before: float | None = None
    after: float | None = None
    images: int = 0
    side: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_facts(self) -> dict[str, Any]:
        """As json types, for the facts of the model."""
        figures = {"before": self.before, "after": self.after}
        return {
            "step": self.name,
            "kept": self.kept,
            "what": self.what,
            "metric": self.metric,
            **{name: value if value is None or math.isfinite(value) else None for name, value in figures.items()},
            "images": self.images,
            "side": self.side,
            **self.facts,
        }


def sentence(step: Mapping[str, Any]) -> str:
    """What is said of a step, out of its facts, on one line."""
    text = f"{step['step']}: {step['what']}"
    if step.get("before") is None or step.get("after") is None:
        return text
    figures = (
        f"{step['metric']} {step['before']:.4f} -> {step['after']:.4f} on {step['images']:,} {step['side']} images"
    )
    return f"{text}; {figures}: {'kept' if step['kept'] else 'left out'}"


class Gate:
    """The select images where there are some, else the validation images.

    What is fitted to them, a temperature or which models a soup has, is cross-fitted: fitted to four fifths and judged
    on the rest, each fifth in turn, so that no image judges what was fitted to it.

    Args:
        dataset: The study's images, of one task.
        objective: What decides.
        deadline: When everything has to be done, on the clock of ``time.monotonic``.

    Attributes:
        side: The images.
        name: ``select`` or ``val``.
    """

    def __init__(self, dataset: Dataset, objective: Objective, *, deadline: float | None = None) -> None:
        val, select = dataset.data.task.val, dataset.holdout.select
        self.side = val if select is None else select
        self.name = "val" if select is None else "select"
        self.objective = objective
        self.until = None if deadline is None else deadline - SAVING
        self._further = 0 if select is None else len(val)
        self._setup = self._each = 0.0

    @property
    def enough(self) -> bool:
        """Whether there are enough images to tell one model from another."""
        return len(self.side) >= FEWEST

    @property
    def comparable(self) -> bool:
        """Whether all that is optimised or limited can be computed from a model's probabilities."""
        return set(self.objective.metrics) <= DIRECTIONS.keys()

    def expect(self, *, setup: float, each: float) -> None:
        """Tells how long a model takes, from what was measured elsewhere.

        Args:
            setup: Seconds to load one.
            each: Seconds for one image.
        """
        self._setup, self._each = max(self._setup, setup), each

    def has_time(self, models: int = 1, *, loads: int = 0, extra: int = 0) -> bool:
        """Whether so many models can still be made and measured, and the last of them on the validation images too.

        Args:
            models: How many are made and measured.
            loads: How many are loaded for that.
            extra: Images that each of those that are made has to see besides.
        """
        images = models * (len(self.side) + extra) + self._further
        return self.has_seconds((models + loads) * self._setup + images * self._each)

    def has_seconds(self, seconds: float) -> bool:
        """Whether so many seconds are left."""
        return self.until is None or time.monotonic() + seconds <= self.until

    def measure(self, model: Model, *, setup: float = 0.0) -> Logits | None:
        """A model's raw scores [N, C] on these images; None where the time does not suffice.

        Args:
            model: The model.
            setup: Seconds that it took to make it.
        """
        began = time.monotonic()
        found = logits_of(model, self.side, until=self.until)
        if found is not None:
            self._setup = max(self._setup, setup)
            self._each = (time.monotonic() - began) / max(1, len(self.side))
        return found

    def scores(self, logits: Logits, temperature: float = 1.0, rows: Rows | None = None) -> dict[str, float]:
        """Scores of a model's raw scores [N, C], all or some of the images."""
        return self.rated(softmax(logits if rows is None else logits[rows], temperature), rows)

    def rated(self, probabilities: Probabilities, rows: Rows | None = None) -> dict[str, float]:
        """Scores of probabilities for all of the images, or for some rows of them."""
        from autotune.vision.metrics import score

        return score(probabilities, self.side.labels if rows is None else self.side.labels[rows])

    def folds(self) -> Iterator[tuple[Rows, Rows]]:
        """Rows to fit to, and rows to judge on; each row is in the latter once."""
        # A side is ordered by the images' hashes: every fifth is as good as any five.
        rows = np.arange(len(self.side), dtype=np.int64)
        for fold in range(FOLDS):
            yield rows[rows % FOLDS != fold], rows[rows % FOLDS == fold]
