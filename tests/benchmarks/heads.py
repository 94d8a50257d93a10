"""P3: many heads one after the other, and at once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import bare
import torch
from material import Material
from measuring import Figures, Goal, Measure, Row
from suffixes import BareSuffix
from trained import TrainingMany

COUNT = 64


class OneByOne:
    """Bare heads, each trained for one epoch on the same features, one after the other."""

    def __init__(self, material: Material, count: int = COUNT) -> None:
        self.material, self.count = material, count
        self.source = BareSuffix(material, 0)
        self.heads: list[tuple[torch.nn.Module, torch.optim.Optimizer]] = []

    def __call__(self) -> Figures:
        """One epoch of every head."""
        features = self.source.inputs
        if not self.heads:
            for number in range(self.count):
                torch.manual_seed(number)
                drop = 0.5 * number / max(1, self.count - 1)
                module = bare.head(features.shape[1], self.material.classes, drop, self.material.settings.device)
                bare.training_mode(module)
                self.heads.append((module, bare.fused_adamw(module)))
        began = time.perf_counter()
        for module, optimizer in self.heads:
            bare.train_epoch(module, optimizer, features, self.material.labels, batch_size=self.material.settings.batch)
        return {"bare one by one s": time.perf_counter() - began}


class AtOnce:
    """The same number of head-only recipes through `fit_many`."""

    def __init__(self, material: Material, count: int = COUNT) -> None:
        self.material, self.count = material, count
        self.training: TrainingMany | None = None

    def __call__(self) -> Figures:
        """One epoch of all of them."""
        if self.training is None:
            self.training = TrainingMany(self.material, self.count)
            self.training.epoch()
        training, whole = self.training.epoch()
        return {"at once s": training, "at once, whole epoch s": whole}

    def notes(self) -> list[str]:
        """What the trials said of themselves."""
        return [] if self.training is None else [note for run in self.training.runs for note in run.notes]

    def close(self) -> None:
        """Ends the trials."""
        if self.training is not None:
            self.training.close()


def p3(material: Material) -> Iterator[Measure]:
    """64 bare heads one after the other over 64 at once."""
    ours = AtOnce(material)
    yield Measure(
        sides={"bare": OneByOne(material), "autotune": ours},
        bare=("bare",),
        notes=ours.notes,
        close=ours.close,
        rows=[
            Row(
                name="P3",
                title=f"{COUNT} bare heads one by one / at once, an epoch of training",
                value=lambda f: f["bare one by one s"] / f["at once s"],
                figures=("bare one by one s", "at once s"),
                goal=Goal(sense="at least", value=5.0),
            ),
            Row(
                name="P3 whole",
                title="the same with autotune's validation, scores and checkpoints",
                value=lambda f: f["bare one by one s"] / f["at once, whole epoch s"],
                figures=("bare one by one s", "at once, whole epoch s"),
            ),
        ],
    )
