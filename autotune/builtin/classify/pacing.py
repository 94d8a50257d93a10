"""How long an epoch takes: measured in a few batches, and remembered on this machine."""

from __future__ import annotations

import itertools
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from autotune import Run, Task
from autotune.builtin.classify.fitting import Fitting
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import evaluate, fingerprint, train_epoch

STEPS = 2
SHAPE = ("backbone", "unfreeze", "opt", "augment", "batch_size", "img_size", "bn")


def pace(recipe: ClassifyRecipe, task: Task, run: Run) -> float:
    """Seconds for one epoch of a recipe, validation included, with nothing kept from earlier ones.

    What was measured once on a machine holds for later studies of images of the same size.
    """
    path = run.cache / "paces" / f"{_key(recipe, task, run)}.json"
    known = _read(path)
    if known is None:
        known = _measure(Fitting(recipe, task, run))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({"train": known[0], "val": known[1]}))
        os.replace(part, path)
    return known[0] * len(task.train) + known[1] * len(task.val)


def _key(recipe: ClassifyRecipe, task: Task, run: Run) -> str:
    return fingerprint(
        version=1,
        machine=platform.node(),
        device=torch.cuda.get_device_name(run.device) if run.device.startswith("cuda") else run.device,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        images=[task.profile.height[1], task.profile.width[1]],
        **{name: getattr(recipe, name) for name in SHAPE},
    )


def _read(path: Path) -> tuple[float, float] | None:
    """Seconds for one image, trained and evaluated; None where they are not known or cannot be read."""
    try:
        kept = json.loads(path.read_text())
        return float(kept["train"]), float(kept["val"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measure(fitting: Fitting) -> tuple[float, float]:
    """Seconds for one image, trained and evaluated; the first batch warms up where there are more."""
    device, size = fitting.run.device, fitting.recipe.batch_size
    began, images = _now(device), 0
    for count, batch in enumerate(itertools.islice(fitting.train.epoch(0, size), STEPS + 1)):
        seen = train_epoch(fitting.trained, _One(batch), epoch=0, batch_size=size, seed=0, keep_going=lambda: True)
        now = _now(device)
        if count == 0:
            first, start = (now - began) / seen, now
        images += seen if count else 0
    train = (now - start) / images if images else first
    began = _now(device)
    inputs = next(iter(fitting.val.plain()))
    evaluate(fitting.module, _One((inputs, inputs[0])), fitting.placement)
    return train, (_now(device) - began) / len(inputs[0])


class _One:
    """A feed of one batch."""

    def __init__(self, batch: tuple[tuple[torch.Tensor, ...], torch.Tensor]) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch[1])

    def epoch(self, epoch: int, batch_size: int) -> Iterator[tuple[tuple[torch.Tensor, ...], torch.Tensor]]:
        yield self.batch

    def plain(self) -> Iterator[tuple[torch.Tensor, ...]]:
        yield self.batch[0]


def _now(device: str) -> float:
    """Seconds, once the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.monotonic()
