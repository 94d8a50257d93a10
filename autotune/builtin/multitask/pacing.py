"""How long an epoch takes, measured in a few batches of every task."""

from __future__ import annotations

import itertools
import statistics

import torch

from autotune.builtin.multitask.fitting import Fitting
from autotune.builtin.multitask.sides import TaskImages
from autotune.vision import Trained, train_mode, train_step

STEPS = 2


def pace(fitting: Fitting) -> float:
    """Seconds for one epoch, validation included, once it is known what the frozen part says."""
    trained = fitting.training(fitting.partition, fitting.cut, weights=[1.0] * len(fitting.tasks))
    shares = fitting.turns([side.train for side in fitting.sides]).shares(fitting.recipe.batch_size)
    seconds = 0.0
    for side, share, own in zip(fitting.sides, shares, fitting.columns, strict=True):
        seconds += share * _step(fitting, trained, side, own.start) + len(side.val) * _look(fitting, trained, side)
    return seconds


def _step(fitting: Fitting, trained: Trained, side: TaskImages, first: int) -> float:
    """Seconds for one step on a batch of a task; the first one warms up where there are more."""
    now, cut = fitting.placement.now, fitting.cut
    train_mode(trained.module, trained.partition, batch_statistics=trained.batch_statistics)
    spent, began = [], now()
    for images, labels in itertools.islice(side.train.epoch(0, fitting.recipe.batch_size), STEPS + 1):
        inputs: tuple[torch.Tensor, ...] = images
        if cut is not None:
            inputs = fitting.boundaries.live(cut, images)
            if fitting.repeats:
                began = now()
        train_step(trained, inputs, labels + first)
        spent.append(now() - began)
        began = now()
    return statistics.fmean(spent[1:] or spent)


@torch.inference_mode()
def _look(fitting: Fitting, trained: Trained, side: TaskImages) -> float:
    """Seconds for one validation image of a task."""
    now, cut = fitting.placement.now, fitting.cut
    trained.module.eval()
    inputs: tuple[torch.Tensor, ...] = next(iter(side.val.plain()))
    if cut is not None:
        inputs = fitting.boundaries.live(cut, inputs)
    began = now()
    with fitting.placement.autocast():
        trained.forward(*inputs)
    return (now() - began) / len(inputs[0])
