"""What a trainer promises that takes several recipes at once: its `fit_many`.

Where the spec's `batch` says 1 for the case's recipe, there is nothing to promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from autotune.errors import AutotuneError
from autotune.space import Choice, Scalar, SearchSpace
from autotune.testing.cases import TrainerCase, load_model, reread, same_bits
from autotune.testing.contract import promise
from autotune.testing.runs import TrialRun
from autotune.trainer import Epoch, Recipe

CLOSE = 1e-3
Curves = list[list[Epoch]]


def check_batch(case: TrainerCase, folder: Path) -> None:
    """Recipes trained together predict as each does alone with the same seed, to rounding."""
    if (recipes := recipes_of(case)) is None:
        return
    runs = _runs(case, recipes, folder)
    curves = _train(case, recipes, runs)
    images = [case.data.task.val.image(i) for i in range(len(case.data.task.val))]
    for i, (recipe, run, curve) in enumerate(zip(recipes, runs, curves, strict=True)):
        promise(run.failed is None, f"fit_many fails recipe {i}: {run.failed}")
        promise(run.asked > 0, f"fit_many never asked Run.stop of recipe {i}; ask every run after each yield")
        _complete(case, i, curve)
        alone = list(case.trainer().fit(recipe, case.data, _run(case, recipe, folder / f"alone-{i}")))
        for together, single in zip(curve, alone, strict=True):
            _alike(case, together, single, i, len(images))
        ours, others = (load_model(case, epochs[-1].checkpoint).predict(images) for epochs in (curve, alone))
        far = float(np.abs(ours - others).max())
        promise(far <= CLOSE, f"trained together, recipe {i} predicts up to {far:.2g} otherwise than alone")


def check_batch_drops(case: TrainerCase, folder: Path) -> None:
    """A run that is told to prune after an epoch leaves the batch; the others end as if it had stayed."""
    if (recipes := recipes_of(case)) is None:
        return
    whole = _train(case, recipes, _runs(case, recipes, folder / "whole"))
    runs = _runs(case, recipes, folder / "pruned")

    def prune() -> None:
        runs[0].stop_at, runs[0].reason = runs[0].asked + 1, "prune"

    curves = _train(case, recipes, runs, after_first=prune)
    promise(len(curves[0]) == 1, f"told to prune, recipe 0 goes on to epoch {[e.at for e in curves[0]][-1]}")
    for i in range(1, len(recipes)):
        _complete(case, i, curves[i])
        _near(case, whole[i][-1], curves[i][-1], f"with another recipe pruned, recipe {i} ends")


def check_batch_resumes(case: TrainerCase, folder: Path) -> None:
    """Closed after its first epoch and resumed, a batch ends like one that was not; `Trainer.fit` can go on from it."""
    if (recipes := recipes_of(case)) is None:
        return
    whole = _train(case, recipes, _runs(case, recipes, folder / "whole"))
    broken = case.trainer().fit_many(recipes, case.data, _runs(case, recipes, folder / "broken"))
    first = next(broken)
    broken.close()
    promise(len(first) == len(recipes), f"the first epochs of {len(recipes)} recipes come as {len(first)}")
    resumed = [reread(case, first[i].checkpoint) for i in range(len(recipes))]
    runs = _runs(case, recipes, folder / "resumed")
    for run, checkpoint in zip(runs, resumed, strict=True):
        run.resume = checkpoint
    for i, curve in enumerate(_train(case, recipes, runs)):
        told = [e.at for e in curve]
        promise(told == [e.at for e in whole[i][1:]], f"resumed after epoch 1, recipe {i} yields epochs {told}")
        same_bits(whole[i][-1], curve[-1], f"in a resumed batch, recipe {i} ends")
    run = _run(case, recipes[0], folder / "alone")
    run.resume = resumed[0]
    alone = list(case.trainer().fit(recipes[0], case.data, run))
    promise(
        bool(alone) and alone[-1].at == case.epochs, "fit does not go on to the last epoch from what fit_many saved"
    )
    _near(case, whole[0][-1], alone[-1], "resumed alone, recipe 0 ends")


def check_batch_pause(case: TrainerCase, folder: Path) -> None:
    """Told to pause, the batch returns without yielding."""
    if (recipes := recipes_of(case)) is None:
        return
    runs = _runs(case, recipes, folder)

    def pause() -> None:
        for run in runs:
            run.stop_at, run.reason = run.asked + 1, "pause"

    for i, curve in enumerate(_train(case, recipes, runs, after_first=pause)):
        promise(len(curve) == 1, f"told to pause in epoch 2, recipe {i} yields {[e.at for e in curve]}")


def recipes_of(case: TrainerCase) -> list[Recipe] | None:
    """The case's recipe and two near it that can be trained with it; None where the trainer takes one at a time.

    Raises:
        ContractError: The spec's `batch` is above 1 and no other recipe can be trained with this one.
    """
    spec, first = case.spec, case.recipe

    def most(recipe: Recipe) -> int:
        return spec.batch(recipe) if callable(spec.batch) else spec.batch

    if most(first) < 2:
        return None
    found = [first]
    space = {n: d for n, d in SearchSpace.of(spec.recipe).items() if n not in spec.same}
    for share in (0.4, 0.6):
        values: dict[str, Scalar] = {}
        for name, dimension in space.items():
            if not isinstance(dimension, Choice):
                low, high = dimension.low, dimension.high
                value = low * (high / low) ** share if dimension.log else low + (high - low) * share
                values[name] = value if isinstance(value, float) and isinstance(low, float) else round(value)
        try:
            other = case.recipe_with(**values)
        except (AutotuneError, ValidationError):
            continue
        same = all(getattr(other, f) == getattr(first, f) for f in spec.same)
        if other not in found and same and most(other) > 1:
            found.append(other)
    promise(
        len(found) > 1,
        f"{spec.name}: batch is {most(first)} for {first!r}, but no other recipe fits it; mend `batch` or `same`",
    )
    return found[: most(first)]


def _run(case: TrainerCase, recipe: Recipe, folder: Path) -> TrialRun:
    run = case.run(folder)
    run.facts["recipe"] = recipe.model_dump(mode="json")
    return run


def _runs(case: TrainerCase, recipes: Sequence[Recipe], folder: Path) -> list[TrialRun]:
    return [_run(case, recipe, folder / str(i)) for i, recipe in enumerate(recipes)]


def _train(
    case: TrainerCase,
    recipes: Sequence[Recipe],
    runs: Sequence[TrialRun],
    *,
    after_first: Callable[[], None] | None = None,
) -> Curves:
    """Everything that a new trainer yields, by recipe; something may happen after the first yield."""
    curves: Curves = [[] for _ in recipes]
    for number, told in enumerate(case.trainer().fit_many(recipes, case.data, runs)):
        for i, epoch in told.items():
            promise(i in range(len(recipes)), f"fit_many yields an epoch for recipe {i!r} of {len(recipes)}")
            promise(isinstance(epoch, Epoch), f"fit_many yields {epoch!r}, no autotune.Epoch")
            curves[i].append(epoch)
        if number == 0 and after_first is not None:
            after_first()
    return curves


def _complete(case: TrainerCase, i: int, curve: Sequence[Epoch]) -> None:
    wanted = [float(at) for at in range(1, case.epochs + 1)]
    told = [e.at for e in curve]
    promise(told == wanted, f"{case.epochs} epochs were wanted of recipe {i}, `at` says {told}")
    for epoch in curve:
        promise(epoch.images > 0, f"epoch {epoch.at} of recipe {i}: images is {epoch.images}")
        promise(epoch.checkpoint is not None, f"epoch {epoch.at} of recipe {i} has no checkpoint")
        missing = [m for m in case.spec.metrics if not math.isfinite(epoch.metrics.get(m, math.nan))]
        promise(not missing, f"epoch {epoch.at} of recipe {i} does not report {', '.join(missing)}")


def _alike(case: TrainerCase, together: Epoch, single: Epoch, i: int, images: int) -> None:
    """The scores are equal but for one image that rounding may have turned."""
    for metric in case.spec.metrics:
        ours, alone = together.metrics[metric], single.metrics[metric]
        promise(
            math.isclose(ours, alone, rel_tol=CLOSE, abs_tol=CLOSE + 2 / images),
            f"epoch {together.at} of recipe {i}: {metric} is {ours} trained together, {alone} alone",
        )


def _near(case: TrainerCase, one: Epoch, other: Epoch, what: str) -> None:
    """Both epochs' models predict alike."""
    images = [case.data.task.val.image(i) for i in range(len(case.data.task.val))]
    a, b = (load_model(case, epoch.checkpoint).predict(images) for epoch in (one, other))
    far = float(np.abs(a - b).max())
    promise(far <= CLOSE, f"{what} with predictions up to {far:.2g} away")
