"""The choice among finalists, on validation images and on images that the search has never looked at."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autotune.after.finalists import Finalist
from autotune.after.gate import Step
from autotune.after.scores import Labels, Logits, Probabilities, logits_of, probabilities_of
from autotune.checkpoint import Checkpoint, read_checkpoint
from autotune.errors import CheckpointError
from autotune.model import Model, softmax
from autotune.objective import DIRECTIONS, plain_metric
from autotune.study import Trial

if TYPE_CHECKING:
    from autotune.data import Dataset, Split
    from autotune.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a finalist said of the images on which finalists are compared, and how long that took.

    Attributes:
        val: Its raw scores of the validation images [N, C].
        select: Those of the select images [M, C].
        setup: Seconds that it took to load it.
        each: Seconds that it took for one image.
    """

    val: Logits
    select: Logits
    setup: float
    each: float


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
        metrics: Its scores on the validation images, where it is no longer the finalist as the trainer scored it.
        measured: What its scores come from, where it was scored and there is one task.
        steps: What was tried on the model after it was chosen; see `autotune.after.steps`.
    """

    finalist: Finalist
    checkpoint: Checkpoint
    model: Model
    select: Mapping[str, float] = field(default_factory=dict)
    pooled: Mapping[str, float] = field(default_factory=dict)
    scored: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    measured: Measured | None = None
    steps: tuple[Step, ...] = ()


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
    known = {plain_metric(metric) for metric in plan.objective.metrics} <= DIRECTIONS.keys()
    score = score and known and any(holdout.select is not None for holdout in plan.dataset.holdouts)
    winner: Chosen | None = None
    scored = 0
    for candidate in candidates:
        started = time.monotonic()
        try:
            checkpoint, model = load_trained(plan, candidate.trial, candidate.checkpoint)
        except CheckpointError as error:
            warnings.warn(f"trial {candidate.trial.number} cannot be chosen: {error.message}", stacklevel=2)
            continue
        if not score:
            return Chosen(finalist=candidate, checkpoint=checkpoint, model=model)
        entry = Chosen(finalist=candidate, checkpoint=checkpoint, model=model)
        entry = _scored(plan.dataset, entry, setup=time.monotonic() - started)
        scored += 1
        if winner is None or plan.objective.better(entry.pooled, winner.pooled):
            winner = entry
        now = time.monotonic()
        if deadline is not None and now + (now - started) > deadline:
            break
    return None if winner is None else replace(winner, scored=scored)


def load_trained(plan: Plan, trial: Trial, path: Path) -> tuple[Checkpoint, Model]:
    """One of a trial's checkpoints, and its model on the study's device.

    Raises:
        CheckpointError: It is gone, cut short or altered.
    """
    checkpoint = read_checkpoint(path, backbone=plan.backbones.get(str(trial.recipe.get("backbone"))))
    return checkpoint, plan.trainer.build().load(checkpoint, plan.device)


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


def _scored(dataset: Dataset, entry: Chosen, *, setup: float) -> Chosen:
    began = time.monotonic()
    select, pooled, logits = finalist_scores(entry.model, dataset)
    measured = None
    if len(logits) == 1:
        val, on_select = logits[0]
        each = (time.monotonic() - began) / max(1, len(val) + len(on_select))
        measured = Measured(val=val, select=on_select, setup=setup, each=each)
    return replace(entry, select=select, pooled=pooled, measured=measured)


def finalist_scores(
    model: Model, dataset: Dataset
) -> tuple[dict[str, float], dict[str, float], list[tuple[Logits, ...]]]:
    """Scores on the select images, those on val and select pooled, and the raw scores that they come from.

    Of several tasks each score is there as ``task/metric``, and its mean over the tasks as ``metric``. On select there
    is no mean where some tasks have no such side. The raw scores are those of each task's val, and of its select where
    it has one.
    """
    from autotune.vision.metrics import score, score_tasks

    tasks = dataset.data.tasks
    select: dict[str, dict[str, float]] = {}
    pooled: dict[str, dict[str, float]] = {}
    logits: list[tuple[Logits, ...]] = []
    for task, holdout in zip(tasks, dataset.holdouts, strict=True):
        own = model if len(tasks) == 1 else model.task(task.name)
        sides = [task.val] if holdout.select is None else [task.val, holdout.select]
        logits.append(tuple(logits_of(own, side) for side in sides))
        parts = [softmax(found, own.temperature) for found in logits[-1]]
        pooled[task.name] = score(np.concatenate(parts), np.concatenate([side.labels for side in sides]))
        if holdout.select is not None:
            select[task.name] = score(parts[1], holdout.select.labels)
    if len(tasks) == 1:
        return select.get(tasks[0].name, {}), pooled[tasks[0].name], logits
    on_select = score_tasks(select) if select else {}
    if len(select) < len(tasks):
        on_select = {metric: value for metric, value in on_select.items() if "/" in metric}
    return on_select, score_tasks(pooled), logits
