"""One attempt at a trial: the host drives the trainer's generator and checks what it yields."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autotune.checkpoint import Checkpoint
from autotune.data import Data
from autotune.engine.failures import BrokenContractError, failure_of
from autotune.engine.pruning import Stop
from autotune.engine.run import AttemptRun, CannotSaveError
from autotune.objective import Objective
from autotune.study import Failure, Point
from autotune.trainer import Epoch, Recipe, Trainer

_SLACK = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt ended.

    Attributes:
        end: ``complete``, ``pruned``, ``failed``, or ``paused`` (it can be resumed).
        reason: Why it was pruned or waits.
        failure: Why it failed.
    """

    end: Literal["complete", "pruned", "failed", "paused"]
    reason: str | None = None
    failure: Failure | None = None


def attend(
    trainer: Trainer[Any],
    recipe: Recipe,
    data: Data,
    run: AttemptRun,
    *,
    objective: Objective,
    called: str,
    scored: bool,
    arrived: Callable[[Epoch, Point], Stop | None],
) -> Ending:
    """Runs a trainer until it ends, fails, is pruned or has to pause.

    Args:
        trainer: The trainer.
        recipe: Its hyperparameters.
        data: What it may see.
        run: The attempt.
        objective: What every epoch with metrics must report.
        called: The trainer with its plugin, for messages.
        scored: Whether an earlier attempt has left scores.
        arrived: Told of every epoch, once it was checked; decides whether the trial is stopped.

    Raises:
        CannotSaveError: The disk is full or the folder gone; the trial is not to blame.
    """
    try:
        epochs = trainer.fit(recipe, data, run)
        if not isinstance(epochs, Iterator):
            raise BrokenContractError("plugin", f"{called}: fit returned {type(epochs).__name__}; it must yield epochs")
        try:
            for epoch in epochs:
                point = check(epoch, run, objective, called)
                scored = scored or bool(point.metrics)
                stop = arrived(epoch, point)
                if stop is not None:
                    return Ending(end="pruned", reason=stop.reason)
                if point.at < run.epochs - _SLACK and (pressed := run.pressed()):
                    run.asked = pressed
                    break
        finally:
            if isinstance(epochs, Generator):
                epochs.close()
        if run.asked is not None and run.at < run.epochs - _SLACK:
            return Ending(end="paused", reason=_waits(run))
        if not scored:
            raise BrokenContractError(
                "plugin", f"{called}: fit ended after {run.at:g} of {run.epochs} epochs without any scores"
            )
    except CannotSaveError:
        raise
    except Exception as error:
        return Ending(end="failed", failure=failure_of(error, called))
    return Ending(end="complete")


def check(epoch: object, run: AttemptRun, objective: Objective, called: str) -> Point:
    """What a trainer yielded, checked and timed, as a point of the curve.

    Raises:
        BrokenContractError: It is no epoch, runs backwards or beyond the end, or its scores are missing or not finite.
    """
    if not isinstance(epoch, Epoch):
        raise BrokenContractError("plugin", f"{called}: fit yielded {type(epoch).__name__}, not an autotune.Epoch")
    if not _is_number(epoch.at) or not run.at + _SLACK < epoch.at <= run.epochs + _SLACK:
        raise BrokenContractError(
            "plugin", f"{called}: fit yielded an epoch at {epoch.at} after {run.at:g}, out of {run.epochs} epochs"
        )
    if not isinstance(epoch.images, numbers.Integral) or epoch.images < 0:
        raise BrokenContractError(
            "plugin", f"{called}: fit yielded an epoch with images={epoch.images!r}; write a whole number"
        )
    metrics = _checked_metrics(epoch.metrics, objective, called)
    path = None
    if epoch.checkpoint is not None:
        if not isinstance(epoch.checkpoint, Checkpoint) or epoch.checkpoint.path.parent != run.folder:
            raise BrokenContractError("plugin", f"{called}: an epoch's checkpoint must be what run.save returned")
        path = _relative(epoch.checkpoint.path)
    at = float(epoch.at)
    return Point(at=at, metrics=metrics, images=int(epoch.images), seconds=run.received(at), checkpoint=path)


def _checked_metrics(metrics: object, objective: Objective, called: str) -> dict[str, float]:
    if not isinstance(metrics, Mapping):
        raise BrokenContractError("plugin", f"{called}: an epoch's metrics are {type(metrics).__name__}, not a mapping")
    if not metrics:
        return {}
    if missing := [name for name in objective.metrics if name not in metrics]:
        told = ", ".join(map(str, metrics))
        raise BrokenContractError(
            "plugin", f"{called}: reports {told}, but not {', '.join(missing)}, which the study optimises"
        )
    plain = {}
    for name, value in metrics.items():
        if not _is_number(value):
            raise BrokenContractError("plugin", f"{called}: the metric {name} is {value!r}, not a number")
        if not math.isfinite(value):
            raise BrokenContractError("diverged", f"the metric {name} is {float(value)}")
        plain[str(name)] = float(value)
    return plain


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _relative(path: Path) -> str:
    """A checkpoint's path relative to the study's folder."""
    return "/".join(path.parts[-4:])


def _waits(run: AttemptRun) -> str:
    cause = "the time ran out" if run.asked == "deadline" else f"{run.signals.asked or 'a signal'} came"
    return f"waits: {cause} at epoch {run.at:.3g} of {run.epochs}"
