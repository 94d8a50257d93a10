"""A `Run` for tests: it saves into a folder and stops when it was told to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.backbone import Backbone
from autotune.checkpoint import Checkpoint, write_checkpoint
from autotune.errors import TrialFailure
from autotune.specs import AugmentationSpec
from autotune.trainer import Run, StopReason, World


class TrialRun(Run):
    """One attempt at a trial, without a host.

    Args:
        folder: Where checkpoints go, as ``checkpoint-1.safetensors`` and so on; made if it is not there.
        epochs: The length of a full training.
        seed: Everything random derives from it.
        device: A torch device name.
        resume: A checkpoint of an earlier attempt.
        backbone: The backbone that the recipe names.
        augmentations: Policies by name.
        cache_limit: How many bytes arrays may take in the cache folder; None is a tenth of the free disk.
        facts: What a host adds to every checkpoint.
        stop_at: Which question of `stop` is the first to be answered with `reason` (1: the first one); None never.
        reason: That answer.

    Attributes:
        asked: How often `stop` was asked.
        saved: Every checkpoint so far.
        notes: Every line that the trainer kept.
        failed: What `fail` was told, or None.
    """

    def __init__(
        self,
        folder: Path,
        *,
        epochs: int = 3,
        seed: int = 0,
        device: str = "cpu",
        resume: Checkpoint | None = None,
        backbone: Backbone | None = None,
        augmentations: Mapping[str, AugmentationSpec] | None = None,
        cache_limit: int | None = None,
        facts: Mapping[str, Any] | None = None,
        stop_at: int | None = None,
        reason: StopReason = "pause",
    ) -> None:
        self.folder = folder
        self.trial = 0
        self.seed = seed
        self.device = device
        self.epochs = epochs
        self.deadline = None
        self.world = World()
        self.resume = resume
        self.cache = folder / "cache"
        self.cache_limit = cache_limit
        self.backbone = backbone
        self.augmentations = augmentations or {}
        self.facts = dict(facts or {})
        self.stop_at = stop_at
        self.reason = reason
        self.asked = 0
        self.saved: list[Checkpoint] = []
        self.notes: list[str] = []
        self.failed: TrialFailure | None = None
        self.cache.mkdir(parents=True, exist_ok=True)

    def save(self, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> Checkpoint:
        """Saves a state into the folder."""
        path = self.folder / f"checkpoint-{len(self.saved) + 1}.safetensors"
        checkpoint = write_checkpoint(path, tensors, {**facts, **self.facts})
        self.saved.append(replace(checkpoint, backbone=self.backbone))
        return self.saved[-1]

    def stop(self) -> StopReason | None:
        """Counts the question, and answers as the run was told to."""
        self.asked += 1
        return self.reason if self.stop_at is not None and self.asked >= self.stop_at else None

    def note(self, text: str) -> None:
        """Keeps a line in `notes`."""
        self.notes.append(text)

    def fail(self, error: TrialFailure) -> None:
        """Keeps the failure in `failed`."""
        self.failed = error
