"""How long an epoch takes, measured in a few batches."""

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
    size = fitting.recipe.batch_size
    seconds = fitting.together([side.train for side in fitting.sides]).steps(size) * _step(fitting, trained)
    return seconds + sum(len(side.val) * _look(fitting, trained, side) for side in fitting.sides)


def _step(fitting: Fitting, trained: Trained) -> float:
    """Seconds for one step; the first one warms up where there are more."""
    now, cut = fitting.placement.now, fitting.cut
    train_mode(trained.module, trained.partition, batch_statistics=trained.batch_statistics)
    feed = fitting.together([side.train for side in fitting.sides])
    spent, began = [], now()
    for images, labels in itertools.islice(feed.epoch(0, fitting.recipe.batch_size), STEPS + 1):
        inputs: tuple[torch.Tensor, ...] = images
        if cut is not None:
            inputs = fitting.boundaries.live(cut, images)
            if fitting.repeats:
                began = now()
        train_step(trained, inputs, labels)
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
