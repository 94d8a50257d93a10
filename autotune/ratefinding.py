"""A learning-rate range test without a study: a plan, the recipe that it starts from, one short training."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.checking import backbone_field
from autotune.engine.run import AttemptRun
from autotune.engine.signals import Signals
from autotune.engine.watch import Watch
from autotune.errors import AutotuneError, PluginError, UsageError
from autotune.searching import prepare
from autotune.trainer import RateCurve, Recipe

if TYPE_CHECKING:
    from autotune.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A range test that was made.

    Attributes:
        curve: What it found.
        recipe: The recipe that it was made with.
    """

    curve: RateCurve
    recipe: Recipe


def sweep(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None,
    assignments: Sequence[str] = (),
    *,
    values: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Makes a range test of the recipe that a search with the same words would start from: nothing of it is kept.

    What is fixed is fixed, what the trainer presets is preset, and the rest has the recipe's defaults. Of several
    candidates the first is taken.

    Args:
        data: As for `autotune.search`.
        assignments: ``key=value`` lines, as on the command line.
        values: Further keys with their values.
        progress: Told how many images have been looked at, and how many there are.

    Raises:
        UsageError: The trainer has no range test.
        PluginError: The trainer raises, or returns something else than a curve.
        AutotuneError: The request, the data or the weights cannot be used, or the recipe cannot be trained.
    """
    with tempfile.TemporaryDirectory(prefix="autotune-rates-") as folder:
        plan = prepare(data, assignments, values=values, runs=Path(folder) / "runs", progress=progress)
        recipe = _recipe(plan)
        return Sweep(curve=_asked(plan, recipe, Path(folder)), recipe=recipe)


def _recipe(plan: Plan) -> Recipe:
    field = backbone_field(plan.trainer.recipe)
    first = {field: next(iter(plan.backbones))} if field is not None and field in plan.space else {}
    return plan.recipe(first)


def _asked(plan: Plan, recipe: Recipe, folder: Path) -> RateCurve:
    name = plan.trainer.name
    run = AttemptRun(
        trial=0,
        seed=plan.config.seed,
        device=plan.device,
        epochs=plan.epochs or 1,
        deadline=None,
        cache=plan.cache,
        cache_limit=plan.config.cache_size,
        backbone=plan.backbone_of(recipe),
        augmentations=plan.plugins.augmentations,
        folder=folder,
        added={},
        watch=Watch(None, Signals()),
    )
    try:
        curve = plan.trainer.build().find_lr(recipe, plan.dataset.data, run)
    except AutotuneError:
        raise
    except Exception as error:
        raise PluginError(f"trainer {name!r}: find_lr raised {type(error).__name__}: {error}") from error
    if curve is None:
        raise UsageError(
            f"trainer {name!r} has no learning-rate range test", hint="trainer=classify has one; others search rates"
        )
    if not isinstance(curve, RateCurve):
        raise PluginError(f"trainer {name!r}: find_lr returned {type(curve).__name__}, not an autotune.RateCurve")
    return curve
