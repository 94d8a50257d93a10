"""What a trainer is tried with, and what its checks have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from autotune.backbone import Backbone
from autotune.checkpoint import Checkpoint, read_checkpoint
from autotune.data import Data
from autotune.model import Model
from autotune.specs import AugmentationSpec, TrainerSpec
from autotune.testing.contract import promise
from autotune.testing.runs import TrialRun
from autotune.testing.tiny import tiny_data
from autotune.trainer import Epoch, Recipe, Trainer


@dataclass(frozen=True, kw_only=True)
class TrainerCase:
    """A trainer, and what it is tried with.

    Attributes:
        spec: The trainer.
        values: Values of the recipe that make it quick; what is left out takes its default.
        data: The images; several tasks, e.g. `tiny_tasks`, for a trainer that takes them.
        backbone: The backbone, for a trainer that needs one.
        augmentations: Policies by name, for a trainer that uses them.
        epochs: Length of a full training, at least 2.
        device: Where to train. Bit by bit equality is promised on ``cpu``.
    """

    spec: TrainerSpec
    values: Mapping[str, Any] = field(default_factory=dict)
    data: Data = field(default_factory=tiny_data)
    backbone: Backbone | None = None
    augmentations: Mapping[str, AugmentationSpec] = field(default_factory=dict)
    epochs: int = 3
    device: str = "cpu"

    @property
    def recipe(self) -> Recipe:
        """The recipe that is tried, resolved for the backbone."""
        return self.recipe_with()

    def recipe_with(self, **changes: Any) -> Recipe:
        """The recipe with some values changed, resolved for the backbone."""
        values = {**self.values, **changes}
        if self.backbone is not None and "backbone" in self.spec.recipe.model_fields:
            values.setdefault("backbone", self.backbone.name)
        return self.spec.recipe(**values).resolve(self.backbone.facts if self.backbone else None)

    def run(self, folder: Path, **keys: Any) -> TrialRun:
        """A run in a folder, which knows what a host knows."""
        classes = {task.name: list(task.classes) for task in self.data.tasks}
        facts = {
            "trainer": self.spec.name,
            "recipe": self.recipe.model_dump(mode="json"),
            "classes": classes if len(classes) > 1 else list(self.data.tasks[0].classes),
        }
        keys = {"epochs": self.epochs, "device": self.device, "facts": facts, **keys}
        return TrialRun(folder, backbone=self.backbone, augmentations=self.augmentations, **keys)

    def fit(self, run: TrialRun) -> list[Epoch]:
        """Everything that a new trainer yields for the run."""
        return list(self.trainer().fit(self.recipe, self.data, run))

    def trainer(self) -> Trainer[Any]:
        """A newly built trainer."""
        trainer = self.spec.build()
        promise(isinstance(trainer, Trainer), f"{self.spec.name}: build returns {trainer!r}, no autotune.Trainer")
        return trainer


def load_model(case: TrainerCase, checkpoint: Checkpoint | None) -> Model:
    """The model from a checkpoint, as another process would load it."""
    model = case.trainer().load(reread(case, checkpoint), case.device)
    promise(isinstance(model, Model), f"load returns {model!r}, no autotune.Model")
    return model


def reread(case: TrainerCase, checkpoint: Checkpoint | None) -> Checkpoint:
    """The checkpoint as another process would find it."""
    promise(checkpoint is not None, "an epoch has no checkpoint: give it what Run.save returns")
    return read_checkpoint(cast(Checkpoint, checkpoint).path, backbone=case.backbone)


def same_bits(one: Epoch, other: Epoch, what: str) -> None:
    """Both epochs' checkpoints hold the same bits."""
    promise(one.checkpoint is not None and other.checkpoint is not None, f"{what} without a checkpoint")
    a, b = cast(Checkpoint, one.checkpoint), cast(Checkpoint, other.checkpoint)
    if a.facts["sha256"] == b.facts["sha256"]:
        return
    left, right = a.tensors(), b.tensors()
    names = sorted(left.keys() ^ right.keys()) or [n for n in left if left[n].tobytes() != right[n].tobytes()]
    promise(not names, f"{what} with other weights: {', '.join(names[:5])}")
