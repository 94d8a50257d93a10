"""A learning-rate range test of a recipe."""

from __future__ import annotations

from dataclasses import replace

import torch

from autotune import RateCurve, Run, Task
from autotune.builtin.classify.fitting import Fitting
from autotune.builtin.classify.head import HeadPhase, Vectors, first_head, head_labels
from autotune.builtin.classify.rates import rates_of
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import Average, Feed, Partition, Trained, VectorFeed, find_rates, make_optimizer, make_penalties
from autotune.vision.ratefinder import STEPS


def find_lr(recipe: ClassifyRecipe, task: Task, run: Run) -> RateCurve:
    """Trains as the recipe says, on the images and from the boundary that it says, with rates that rise.

    Where blocks are trained, the head is fitted first, as it is before a training: what blocks bear is another thing
    beneath a head that knows nothing. With a schedule all of its blocks are trained. A head that is trained by itself
    reads features brought to a like scale, here as there, and draws small classes as often as its training does.

    Args:
        recipe: Resolved; what its rates are decides on their ratio only.
        task: Classes, and the two sides.
        run: The host's.
    """
    fitting = Fitting(recipe, task, run)
    if HeadPhase(fitting).suffices:
        vectors = Vectors.of(fitting)
        if vectors is None:
            return RateCurve(rates=(), losses=(), suggested=None)
        return _found(fitting, *_head_alone(fitting, vectors))
    if fitting.partition.unfreeze and recipe.head_epochs:
        HeadPhase(fitting).warm()
    feed, _ = fitting.open(fitting.partition.unfreeze, STEPS / fitting.steps_per_epoch)
    return _found(fitting, fitting.trained, feed)


def _found(fitting: Fitting, trained: Trained, feed: Feed) -> RateCurve:
    return find_rates(
        trained,
        feed,
        lr=fitting.recipe.lr,
        batch_size=fitting.recipe.batch_size,
        seed=fitting.run.seed,
        keep_going=fitting.asking,
    )


def _head_alone(fitting: Fitting, vectors: Vectors) -> tuple[Trained, Feed]:
    """A head where its own training starts it, and the scaled features that it reads."""
    head = first_head(fitting, vectors.head)
    weight, bias = vectors.scaling.unfolded(head.weight, head.bias)
    head.weight.copy_(weight)
    if bias is not None:
        head.bias.copy_(bias)
    head.requires_grad_(True)
    module = torch.nn.Sequential(torch.nn.Dropout(fitting.recipe.drop), head)
    partition = Partition(head=frozenset(module.state_dict()), blocks=(), unfreeze=0)
    optimizer = make_optimizer(module, partition, rates_of(fitting.recipe))
    trained = replace(
        fitting.trained,
        module=module,
        partition=partition,
        optimizer=optimizer,
        average=Average(dict(module.named_parameters()), 0.0),
        penalties=make_penalties(optimizer),
        forward=module,
    )
    return trained, VectorFeed(vectors.train, head_labels(fitting), order=fitting.train.order)
