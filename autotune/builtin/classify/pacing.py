"""How long an epoch takes: measured in a few batches, and remembered on this machine."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import torch

from autotune import Run, Task
from autotune.builtin.classify.fitting import Fitting
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import Graphs, Placement, evaluate, fingerprint, train_epoch, without_graphs

Inputs: TypeAlias = tuple[torch.Tensor, ...]

WARMING, STEPS = 1, 2
GPU_WARMING, GPU_STEPS = 5, 10
"""A GPU loads each kernel when it is first used, which takes longer than many steps, one step says little of it, and
after a few of them the steps are captured."""

RATES = {
    "unfreeze_share",
    "unfreeze_schedule",
    "lr",
    "lr_blocks",
    "layer_decay",
    "momentum",
    "weight_decay",
    "drop",
    "smoothing",
    "imbalance",
    "imbalance_power",
    "sched",
    "decay_epochs",
    "decay_rate",
    "patience",
}
"""Fields that leave an epoch as long as it is. Of an unfreeze_schedule those that train all its blocks are measured."""


def pace(recipe: ClassifyRecipe, task: Task, run: Run) -> float:
    """Seconds for one epoch of a recipe, validation included, once it is known what the frozen part says.

    What was measured once on a machine holds for later studies of images of the same size, unless there were so few
    that all of it was warming up. Steps that are replayed from CUDA graphs have a pace of their own: a training so
    short that none is captured says nothing of a longer one.
    """
    path = run.cache / "paces" / f"{_key(recipe, task, run)}.json"
    known = _read(path)
    if known is None:
        known, warm = _measure(Fitting(recipe, task, run))
        if not warm:
            return known[0] * len(task.train) + known[1] * len(task.val)
        with contextlib.suppress(OSError):  # a full disk, or somebody else's cache: it is measured again next time
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps({"train": known[0], "val": known[1]}))
            os.replace(part, path)
    return known[0] * len(task.train) + known[1] * len(task.val)


def _key(recipe: ClassifyRecipe, task: Task, run: Run) -> str:
    placement, steps = Placement(run.device), round(run.epochs * -(-len(task.train) // recipe.batch_size))
    return fingerprint(
        version=3,
        machine=platform.node(),
        device=torch.cuda.get_device_name(run.device) if placement.is_cuda else run.device,
        graphs=without_graphs(recipe.cuda_graphs, placement, steps) is None,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        images=[task.profile.height[1], task.profile.width[1]],
        recipe=recipe.model_dump(mode="json", exclude=RATES),
    )


def _read(path: Path) -> tuple[float, float] | None:
    """Seconds for one image, trained and evaluated; None where they are not known or cannot be read."""
    try:
        kept = json.loads(path.read_text())
        return float(kept["train"]), float(kept["val"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measure(fitting: Fitting) -> tuple[tuple[float, float], bool]:
    """Seconds for one image, trained and evaluated; and whether there were batches beyond those that warm up."""
    now, size, cut = fitting.placement.now, fitting.recipe.batch_size, fitting.cut
    warming, steps = (GPU_WARMING, GPU_STEPS) if fitting.placement.is_cuda else (WARMING, STEPS)
    if cut is not None and fitting.repeats:
        fitting.trained.forward = cut.suffix
    spent, began = [], now()
    with Graphs(fitting.recipe.cuda_graphs, fitting.placement, lambda line: None) as graphs:
        graphs.begin(fitting.trained, round(fitting.run.epochs * fitting.steps_per_epoch))
        for images, labels in itertools.islice(fitting.train.epoch(0, size), warming + steps):
            inputs: Inputs = images
            if cut is not None and fitting.repeats:
                inputs, began = fitting.boundaries.live(cut, images), now()
            one = _One((inputs, labels))
            seen = train_epoch(fitting.trained, one, epoch=0, batch_size=size, seed=0, keep_going=lambda: True)
            spent.append((now() - began) / seen)
            began = now()
    images = next(iter(fitting.val.plain()))
    inputs = images if cut is None else fitting.boundaries.live(cut, images)
    forward = fitting.module if cut is None else cut.suffix
    side = _One((inputs, inputs[0]))
    if fitting.placement.is_cuda:
        evaluate(fitting.module, side, fitting.placement, forward)
    began = now()
    evaluate(fitting.module, side, fitting.placement, forward)
    validated = (now() - began) / len(inputs[0])
    return (statistics.fmean(spent[warming:] or spent), validated), len(spent) > warming


class _One:
    """A feed of one batch."""

    def __init__(self, batch: tuple[Inputs, torch.Tensor]) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch[1])

    def epoch(self, epoch: int, batch_size: int) -> Iterator[tuple[Inputs, torch.Tensor]]:
        yield self.batch

    def plain(self) -> Iterator[Inputs]:
        yield self.batch[0]
