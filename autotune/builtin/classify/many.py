"""Up to 64 recipes that train the head alone, trained at once on the same features."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from autotune import Data, Epoch, Run, TrialFailure
from autotune.builtin.classify.fitting import Fitting
from autotune.builtin.classify.head import Vectors, train_heads
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import Asking, heads_that_fit

Fit: TypeAlias = Callable[[ClassifyRecipe, Data, Run], Generator[Epoch, None, None]]


def fit_many(
    recipes: Sequence[ClassifyRecipe], data: Data, runs: Sequence[Run], *, alone: Fit
) -> Generator[Mapping[int, Epoch], None, None]:
    """Trains recipes whose heads read the same features; see `autotune.Trainer.fit_many`.

    As many are trained at once as memory has room for, and the next ones after them. Each ends where it would end by
    itself with the seed of the first run, to rounding: heads start alike and see the same batches and the same draws
    for dropout. One that diverges fails alone. After each batch the first run that is still in is asked whether to
    stop, before each epoch every run.

    Args:
        recipes: Resolved; equal in the fields that a batch shares.
        data: What all of them may see.
        runs: One for each recipe.
        alone: Trains one recipe: used one after the other where the head is not one linear layer on one vector.
    """
    fitting = Fitting(recipes[0], data.task, runs[0])
    vectors = Vectors.of(fitting)
    if vectors is None:
        reason = fitting.asking.reason
        del fitting
        if reason is None:
            yield from _one_by_one(recipes, data, runs, alone)
        elif reason == "prune" and len(runs) > 1:
            for told in fit_many(recipes[1:], data, runs[1:], alone=alone):
                yield {place + 1: epoch for place, epoch in told.items()}
        return
    askings = [fitting.asking, *map(Asking, runs[1:])]
    classes, features = vectors.head.weight.shape
    most, why = heads_that_fit(
        len(runs),
        fitting.placement.device,
        fitting.placement.free_memory,
        classes=classes,
        features=features,
        batch=fitting.recipe.batch_size,
    )
    for start in range(0, len(runs), most):
        if any(asking.reason in ("pause", "deadline") for asking in askings):
            return
        some = slice(start, start + most)
        for run in runs[some]:
            if len(runs[some]) > 1:
                run.note(f"trained together with {len(runs[some]) - 1} others, from the seed {runs[0].seed}")
            if why:
                run.note(why)
        heads = train_heads(fitting, vectors, recipes[some], runs[some], askings[some], partial(_fail, runs[some]))
        for told in heads:
            yield {start + place: epoch for place, epoch in told.items()}


def _fail(runs: Sequence[Run], place: int, error: TrialFailure) -> None:
    runs[place].fail(error)


def _one_by_one(
    recipes: Sequence[ClassifyRecipe], data: Data, runs: Sequence[Run], alone: Fit
) -> Generator[Mapping[int, Epoch], None, None]:
    for place, (recipe, run) in enumerate(zip(recipes, runs, strict=True)):
        try:
            for epoch in alone(recipe, data, run):
                yield {place: epoch}
        except TrialFailure as error:
            run.fail(error)
        if run.stop() in ("pause", "deadline"):
            return
