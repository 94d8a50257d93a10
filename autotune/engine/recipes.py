"""``recipe.toml``: what one trial is, written before it starts."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit

from autotune.checkpoint import write_atomically
from autotune.engine.outage import insist
from autotune.errors import StudyError
from autotune.study import Stage

FILE = "recipe.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """What one trial is.

    Attributes:
        trial: Its number.
        stage: ``search``, ``screen`` or ``final``.
        trainer: The trainer's name.
        seed: The trial's seed.
        epochs: Length of a full training.
        weights: Digest of the weights that its backbone starts from, or None.
        parent: The trial that it continues, or None.
        batch: The trial that leads the batch that it is trained in, perhaps itself; None without a batch.
        recipe: Every hyperparameter, resolved. TOML knows no null: a key that is left out has its default, None.
        sampled: What the search sampled of it.
    """

    trial: int
    stage: Stage
    trainer: str
    seed: int
    epochs: int
    weights: str | None = None
    parent: int | None = None
    batch: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    sampled: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path, check: Callable[[], None] | None = None) -> None:
        """Writes it into the trial's folder, atomically.

        Args:
            folder: The trial's folder.
            check: Asked before every time that it is written; raises where the trial is somebody else's by now.
        """
        head = {
            "trial": self.trial,
            "stage": self.stage,
            "trainer": self.trainer,
            "seed": self.seed,
            "epochs": self.epochs,
            "weights": self.weights,
            "parent": self.parent,
            "batch": self.batch,
        }
        document = tomlkit.document()
        for key, value in _without_none(head).items():
            document.add(key, value)
        document.add("recipe", tomlkit.item(_without_none(self.recipe)))
        document.add("sampled", tomlkit.item(_without_none(self.sampled)))
        content = tomlkit.dumps(document).encode()
        insist(folder / FILE, lambda: write_atomically(folder / FILE, content), check)

    @classmethod
    def read(cls, folder: Path) -> TrialPlan | None:
        """Reads it from the trial's folder; None if it was never written.

        Raises:
            StudyError: The file is damaged.
        """
        path = folder / FILE
        try:
            facts = tomllib.loads(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StudyError(f"{path}: is damaged ({error})", hint="mend the line, or remove the trial") from error
        try:
            return cls(**facts)
        except TypeError as error:
            raise StudyError(
                f"{path}: does not describe a trial ({error})",
                hint="it may come from a newer autotune: pip install -U autotune-vision",
            ) from error


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if value is not None
    }
