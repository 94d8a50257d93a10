"""A look at a backbone before the search: quick classifiers on its frozen features."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from autotune import Run, Screening, Split, Task
from autotune.builtin.classify.fitting import Fitting
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import Cut, Halving, Images, Placement, fit_linear, knn_probabilities

TRAIN, VAL = 1400, 600
"""Images that are looked at, at most: 2,000 together."""
NEIGHBOURS, TEMPERATURE = 20, 0.07
"""As in Caron et al. 2021 (arXiv:2104.14294), who chose among neighbours for frozen features."""
L2, ITERATIONS = 0.01, 50
SALT = b"screening"
TIMED = 8
"""Images that a CPU is timed on."""


def screen(recipe: ClassifyRecipe, task: Task, run: Run) -> Screening | None:
    """Scores nearest neighbours and a linear probe on at most 2,000 images: 1,400 that train, and 600 of validation.

    The features are kept: another study of the same images finds them, and where there are no more images than that,
    the search does too. What trials would need besides, of other depths, is left to them.

    Args:
        recipe: Names the backbone, and the size of its images.
        task: All images that may be seen.
        run: The host's.

    Returns:
        None where the head cannot be cut off, or stands on no vector, where the time would not suffice, and when the
        host says stop.
    """
    few = replace(task, train=sample(task.train, TRAIN), val=sample(task.val, VAL))
    fitting = Fitting(_head_only(recipe), few, run)
    fitting.boundaries.on_the_way = False
    cut = fitting.cuts.at(0)
    if cut is None or len(cut.crossing) > 1:
        why = fitting.cuts.why_not(0) if cut is None else f"it reads {len(cut.crossing)} tensors of an image"
        run.note(f"not looked at: the head does not stand on one vector: {why}")
        return None
    seconds = _seconds(cut, fitting.placement, fitting.preprocess.img_size, fitting.boundaries.halving)
    needed = seconds * _missing(fitting, cut)
    if run.deadline is not None and needed > (left := max(0.0, run.deadline - time.monotonic())):
        run.note(f"not looked at: its features take about {needed:.0f} s, of which {left:.0f} s are left for it")
        return None
    train = _vectors(fitting, fitting.train)
    val = None if train is None else _vectors(fitting, fitting.val)
    if train is None or val is None:
        return None
    move = fitting.placement.tensor
    labels, truth = (move(torch.from_numpy(side.labels)) for side in (few.train, few.val))
    return Screening(
        images=len(few.val),
        seconds=seconds,
        scores=_scores(train, labels, val, truth, len(task.classes)),
    )


def sample(side: Split, most: int) -> Split:
    """At most so many images of a side: of every class the same share, and one at least while there is room.

    Which ones, their hashes decide: every candidate and every later study sees the same, also where images were added.

    Args:
        side: The side.
        most: How many images; a side that has no more is taken as it is.
    """
    if len(side) <= most:
        return side
    marks = np.array([_mark(identity) for identity in side.ids], dtype=np.uint64)
    order = np.lexsort((marks, side.labels))
    labels = side.labels[order]
    places = np.arange(len(side)) - np.searchsorted(labels, labels)
    shares = np.empty(len(side))
    shares[order] = places / np.bincount(side.labels)[labels]
    return side.take(sorted(np.lexsort((marks, shares))[:most].tolist()))


def _mark(identity: str) -> int:
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8, salt=SALT).digest(), "big")


def _head_only(recipe: ClassifyRecipe) -> ClassifyRecipe:
    """The recipe that leaves the backbone as it is; only what decides on its features is taken over."""
    kept = recipe.model_dump(include={"backbone", "img_size", "cache_dtype"})
    return ClassifyRecipe.model_validate({**kept, "unfreeze_share": 0.0, "unfreeze": 0})


def _vectors(fitting: Fitting, side: Images) -> torch.Tensor | None:
    """What the head reads of a side, float32 [N, D] on the device; None where that is no vector, or on stop."""
    rows = fitting.features(side)
    found = None if rows is None else rows.rows(torch.arange(len(rows)))
    if found is not None and found.shape[1:].numel() == found.shape[1]:
        found = found.flatten(1)  # what a pooling leaves, e.g. [N, D, 1, 1]
    if found is not None and found.ndim != 2:
        fitting.run.note(f"not looked at: the head reads {tuple(found.shape[1:])} of an image, not one vector")
        return None
    return found


def _missing(fitting: Fitting, cut: Cut) -> int:
    """Images whose features no earlier look or trial has kept."""
    sides = (fitting.train, fitting.val)
    find = fitting.boundaries.find
    return sum(len(side) for side in sides if find(side, cut, None, keep_going=fitting.asking) is None)


def _scores(
    train: torch.Tensor, labels: torch.Tensor, val: torch.Tensor, truth: torch.Tensor, classes: int
) -> Mapping[str, float]:
    near = knn_probabilities(train, labels, val, classes=classes, k=NEIGHBOURS, temperature=TEMPERATURE)
    weight, bias = fit_linear(train, labels, classes=classes, l2=L2, iterations=ITERATIONS)
    guesses = {"knn": near.argmax(1), "linear": (val @ weight.T + bias).argmax(1)}
    return {name: float((guess == truth).float().mean()) for name, guess in guesses.items()}


def _seconds(cut: Cut, placement: Placement, img_size: int, halving: Halving) -> float:
    """What the frozen network takes for one image: the better of two timings, after one that warms up."""
    count = placement.eval_batch if placement.is_cuda else TIMED
    noise = torch.rand(count, 3, img_size, img_size, generator=torch.Generator().manual_seed(0))
    images = placement.tensor(noise).contiguous(memory_format=torch.channels_last)
    taken = []
    with torch.inference_mode(), placement.autocast():
        for _ in range(3):
            began = placement.now()
            halving(cut.prefix, (images,))
            taken.append(placement.now() - began)
    return min(taken[1:]) / count
