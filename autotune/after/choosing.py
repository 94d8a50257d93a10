"""The choice among finalists, on validation images and on images that the search has never looked at."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from autotune.after.finalists import Finalist
from autotune.after.scores import Labels, Probabilities, probabilities_of
from autotune.checkpoint import Checkpoint, read_checkpoint
from autotune.errors import CheckpointError
from autotune.model import Model
from autotune.objective import DIRECTIONS

if TYPE_CHECKING:
    from autotune.data import Split
    from autotune.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The finalist that is handed back.

    Attributes:
        finalist: The trial and the epoch.
        checkpoint: Its checkpoint, as the trainer saved it.
        model: The model, loaded.
        select: Its scores on the select images, where there are enough images for such a side.
        pooled: Its scores on val and select together, by which it was chosen; empty where val alone decided.
        scored: How many finalists were scored again.
    """

    finalist: Finalist
    checkpoint: Checkpoint
    model: Model
    select: Mapping[str, float] = field(default_factory=dict)
    pooled: Mapping[str, float] = field(default_factory=dict)
    scored: int = 0


def choose(
    plan: Plan, candidates: Sequence[Finalist], *, deadline: float | None = None, score: bool = True
) -> Chosen | None:
    """Loads the finalists, scores them on val and select pooled, and takes the best.

    Without a select side, or when the objective has a metric that only the trainer knows, the validation
    scores that the trainer reported decide.

    Args:
        plan: The study's plan.
        candidates: Finalists, the best on val first.
        deadline: When to stop scoring further ones, on the clock of ``time.monotonic``; the first is always loaded.
        score: Whether to score at all; without, the first that can be read is taken.

    Returns:
        None if no checkpoint can be read; each that cannot is warned about.
    """
    select = plan.dataset.holdout.select
    score = score and select is not None and set(plan.objective.metrics) <= DIRECTIONS.keys()
    winner: Chosen | None = None
    scored = 0
    for candidate in candidates:
        started = time.monotonic()
        try:
            checkpoint = read_checkpoint(
                candidate.checkpoint, backbone=plan.backbones.get(str(candidate.trial.recipe.get("backbone")))
            )
            model = plan.trainer.build().load(checkpoint, plan.device)
        except CheckpointError as error:
            warnings.warn(f"trial {candidate.trial.number} cannot be chosen: {error.message}", stacklevel=2)
            continue
        if not score or select is None:
            return Chosen(finalist=candidate, checkpoint=checkpoint, model=model)
        entry = _score(plan, candidate, checkpoint, model, select)
        scored += 1
        if winner is None or plan.objective.better(entry.pooled, winner.pooled):
            winner = entry
        now = time.monotonic()
        if deadline is not None and now + (now - started) > deadline:
            break
    return None if winner is None else replace(winner, scored=scored)


def held_out(plan: Plan) -> tuple[Split, ...]:
    """The sides on which models are compared: val, and select where there is one."""
    val, select = plan.dataset.data.task.val, plan.dataset.holdout.select
    return (val,) if select is None else (val, select)


def pooled_predictions(model: Model, sides: Sequence[Split]) -> tuple[Probabilities, Labels]:
    """Probabilities [N, C] and labels [N] over several sides, in order."""
    return (
        np.concatenate([probabilities_of(model, side) for side in sides]),
        np.concatenate([side.labels for side in sides]),
    )


def _score(plan: Plan, candidate: Finalist, checkpoint: Checkpoint, model: Model, select: Split) -> Chosen:
    from autotune.vision.metrics import score as scores

    probabilities, labels = pooled_predictions(model, [plan.dataset.data.task.val, select])
    on_select = probabilities[-len(select) :]
    return Chosen(
        finalist=candidate,
        checkpoint=checkpoint,
        model=model,
        select=scores(on_select, select.labels),
        pooled=scores(probabilities, labels),
    )
