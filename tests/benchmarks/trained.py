"""autotune's side: its own trainer, driven as the engine drives it."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from material import EPOCHS, Material

from autotune import Checkpoint, Epoch, StopReason
from autotune.builtin.classify.trainer import ClassifyTrainer
from autotune.testing import TrialRun
from autotune.vision import Boundaries, BoundaryFeed

KEPT = 2


class TimedRun(TrialRun):
    """A run that saves as the engine does, keeps the newest two checkpoints, and knows when it was last asked.

    A GPU is not made to wait for that: it notes the time itself when it has come so far.
    """

    def begin(self) -> None:
        """Time counts from here."""
        self._began = self._asked_last = self._now()

    def stop(self) -> StopReason | None:
        """Says to go on; the last question of an epoch comes after its last batch."""
        self._asked_last = self._now()
        return None

    @property
    def seconds(self) -> float:
        """From `begin` to the last question."""
        if isinstance(self._asked_last, float):
            return self._asked_last - self._began
        self._asked_last.synchronize()
        return self._began.elapsed_time(self._asked_last) / 1000

    def _now(self) -> Any:
        if not self.device.startswith("cuda"):
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def save(self, tensors: Any, facts: Any) -> Checkpoint:
        """Saves atomically with a checksum, and removes what the engine would thin out."""
        checkpoint = super().save(tensors, facts)
        for old in self.saved[:-KEPT]:
            old.path.unlink(missing_ok=True)
            old.path.with_suffix(".json").unlink(missing_ok=True)
        return checkpoint


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One epoch.

    Attributes:
        rate: Training images a second, from the beginning of the epoch to the end of its last batch.
        seconds: The whole epoch: training, validation, scores and checkpoint.
        images: Training images.
    """

    rate: float
    seconds: float
    images: int


@contextlib.contextmanager
def unkept(unfreeze: int) -> Iterator[None]:
    """While this lasts, there is no room for activations: the frozen part computes every batch, as fast as it can.

    With blocks to train, what the head reads in its own phase before is kept all the same: that is not measured.
    """
    owner, name = (BoundaryFeed, "_arrays") if unfreeze else (Boundaries, "arrays")
    with mock.patch.object(owner, name, return_value=None):
        yield


class Training:
    """One trial of `classify`, an epoch at a time.

    Args:
        material: Data and backbone.
        sampled: What the recipe differs in from its defaults.
        epochs: The length of the trial.
        fewer: Trains on `Material.fewer` images.
        without_cache: Trains as where there is no room: the frozen part is computed in every epoch.
    """

    def __init__(
        self,
        material: Material,
        *,
        epochs: int = EPOCHS,
        fewer: bool = False,
        without_cache: bool = False,
        **sampled: Any,
    ) -> None:
        plan = material.plan
        self.without_cache = without_cache
        data = material.fewer if fewer else material.data
        self.folder = Path(tempfile.mkdtemp(prefix="trial-", dir=material.settings.work))
        self.recipe = plan.recipe(sampled)
        self.run = TimedRun(
            self.folder,
            epochs=epochs,
            device=material.settings.device,
            backbone=material.backbone,
            augmentations=plan.plugins.augmentations,
        )
        self.run.cache = plan.cache
        plan.cache.mkdir(parents=True, exist_ok=True)
        self._epochs: Generator[Epoch, None, None] = ClassifyTrainer().fit(self.recipe, data, self.run)

    def epoch(self) -> Timed:
        """Trains the next epoch."""
        with unkept(self.recipe.unfreeze) if self.without_cache else contextlib.nullcontext():
            began = time.perf_counter()
            self.run.begin()
            epoch = next(self._epochs)
            ended = time.perf_counter()
        return Timed(rate=epoch.images / self.run.seconds, seconds=ended - began, images=epoch.images)

    def close(self) -> None:
        """Ends the trial and removes its folder."""
        self._epochs.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class TrainingMany:
    """Head-only trials that train at once, an epoch at a time.

    Args:
        material: Data and backbone.
        count: How many trials.
        epochs: Their length.
    """

    def __init__(self, material: Material, count: int, *, epochs: int = EPOCHS) -> None:
        plan = material.plan
        self.folder = Path(tempfile.mkdtemp(prefix="many-", dir=material.settings.work))
        # Rates, decays, dropouts and smoothings of their own: the i-th of `count` evenly spaced values.
        places = [i / max(1, count - 1) for i in range(count)]
        self.recipes = [
            plan.recipe(
                {"unfreeze_share": 0.0, "lr": 3e-4 * 100**p, "drop": 0.5 * (1 - p), "smoothing": 0.2 * p,
                 "weight_decay": 1e-5 * 10_000**p}
            )
            for p in places
        ]  # fmt: skip
        # After each batch only the first is asked.
        self.runs = [
            (TimedRun if i == 0 else TrialRun)(
                self.folder / str(i), epochs=epochs, seed=i, device=material.settings.device,
                backbone=material.backbone, augmentations=plan.plugins.augmentations,
            )
            for i in range(count)
        ]  # fmt: skip
        for run in self.runs:
            run.cache = plan.cache
        plan.cache.mkdir(parents=True, exist_ok=True)
        self._epochs = ClassifyTrainer().fit_many(self.recipes, material.data, self.runs)

    def epoch(self) -> tuple[float, float]:
        """Trains all of them for their next epoch: seconds of training, and of the whole epoch."""
        began = time.perf_counter()
        timed: TimedRun = self.runs[0]
        timed.begin()
        arrived: dict[int, Epoch] = {}
        for some in itertools.islice(self._epochs, len(self.runs)):
            arrived.update(some)
            if len(arrived) == len(self.runs):
                break
        ended = time.perf_counter()
        return timed.seconds, ended - began

    def close(self) -> None:
        """Ends the trials and removes their folders."""
        self._epochs.close()
        shutil.rmtree(self.folder, ignore_errors=True)
