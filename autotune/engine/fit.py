"""One attempt at a trial, or at a batch: the host drives the trainer's generator and checks what it yields."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from autotune.checkpoint import Checkpoint, HeldCheckpoint
from autotune.data import Data
from autotune.engine.failures import BrokenContractError, failure_of
from autotune.engine.pruning import Stop
from autotune.engine.run import AttemptRun, CannotSaveError
from autotune.objective import Objective
from autotune.study import SLACK, Failure, Point
from autotune.trainer import Epoch, Recipe, Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt ended.

    Attributes:
        end: ``complete``, ``pruned``, ``failed``, or ``paused`` (it can be resumed).
        reason: Why it was pruned or waits, or that it was complete before its last epoch.
        failure: Why it failed.
    """

    end: Literal["complete", "pruned", "failed", "paused"]
    reason: str | None = None
    failure: Failure | None = None


def attend(
    trainer: Trainer[Any],
    recipes: Sequence[Recipe],
    data: Data,
    runs: Sequence[AttemptRun],
    *,
    objective: Objective,
    called: str,
    scored: Collection[int],
    arrived: Callable[[Mapping[int, tuple[Epoch, Point]]], Mapping[int, Stop]],
    ended: Callable[[Mapping[int, Ending]], None],
) -> None:
    """Runs a trainer until every run has ended, failed, been pruned or has to pause.

    Args:
        trainer: The trainer.
        recipes: The hyperparameters of one run, or those of a batch.
        data: What it may see.
        runs: The attempts, one for each recipe; they have one `Watch`.
        objective: What every epoch with metrics must report.
        called: The trainer with its plugin, for messages.
        scored: Which runs have scores from an earlier attempt.
        arrived: Told of epochs, by run, once they were checked; decides which runs are stopped.
        ended: Told how runs ended, as soon as they have.

    Raises:
        CannotSaveError: The disk is full or the folder gone; the trials are not to blame.
    """
    watch, left, known = runs[0].watch, dict(enumerate(runs)), set(scored)
    watch.runs = len(left)
    over: dict[int, Ending] = {}
    failure = None
    epochs = _epochs(trainer, recipes, data, runs, called)
    try:
        while left:
            told, failure = _next(epochs, called)
            if told is None:
                break
            watch.arrived()
            points, over = _checked(told, left, objective, called)
            known |= {i for i, (_, point) in points.items() if point.metrics}
            over |= {i: Ending(end="pruned", reason=stop.reason) for i, stop in arrived(points).items()}
            for i in over:
                left.pop(i).over = True
            watch.runs = max(1, len(left))
            if over and left:
                ended(over)
                over = {}
            if any(run.at < run.epochs - SLACK for run in left.values()) and (pressed := watch.pressed()):
                watch.asked = pressed
                break
    finally:
        late = _close(epochs, called)
    if late is not None:
        failed = Ending(end="failed", failure=late)
        over = {i: ending if ending.end == "failed" else failed for i, ending in over.items()}
    last = {i: _last(run, failure or late, called, scored=i in known) for i, run in left.items()}
    if over or last:
        ended({**over, **last})


def _epochs(
    trainer: Trainer[Any], recipes: Sequence[Recipe], data: Data, runs: Sequence[AttemptRun], called: str
) -> Generator[Mapping[int, object], None, None]:
    """What the trainer yields, by run."""
    name = _asked(runs[0])
    many = runs[0].batched
    epochs = trainer.fit_many(recipes, data, runs) if many else trainer.fit(recipes[0], data, runs[0])
    if not isinstance(epochs, Iterator):
        raise BrokenContractError("plugin", f"{called}: {name} returned {type(epochs).__name__}; it must yield epochs")
    try:
        for told in epochs:
            if not many:
                yield {0: told}
            elif not isinstance(told, Mapping):
                raise BrokenContractError(
                    "plugin", f"{called}: {name} yielded {type(told).__name__}, not epochs by the place of their recipe"
                )
            elif wrong := [i for i in told if not isinstance(i, numbers.Integral) or not 0 <= i < len(runs)]:
                raise BrokenContractError(
                    "plugin", f"{called}: {name} yielded an epoch for recipe {wrong[0]!r} of {len(runs)}"
                )
            else:
                yield {int(i): epoch for i, epoch in told.items()}
    finally:
        if isinstance(epochs, Generator):
            epochs.close()


def _next(
    epochs: Generator[Mapping[int, object], None, None], called: str
) -> tuple[Mapping[int, object] | None, Failure | None]:
    """What the trainer yields next, None at its end; and what it failed of, if it did."""
    try:
        return next(epochs, None), None
    except CannotSaveError:
        raise
    except Exception as error:
        return None, failure_of(error, called)


def _close(epochs: Generator[Mapping[int, object], None, None], called: str) -> Failure | None:
    """Ends a trainer between two epochs; returns what it failed of then."""
    try:
        epochs.close()
    except CannotSaveError:
        raise
    except Exception as error:
        return failure_of(error, called)
    return None


def _checked(
    told: Mapping[int, object], left: Mapping[int, AttemptRun], objective: Objective, called: str
) -> tuple[dict[int, tuple[Epoch, Point]], dict[int, Ending]]:
    """The epochs of runs that have not ended, checked; and the runs that failed.

    What is yielded for a run that has ended already is left out.
    """
    points: dict[int, tuple[Epoch, Point]] = {}
    failed: dict[int, Ending] = {}
    for i, run in left.items():
        if run.failed is not None:
            failed[i] = Ending(end="failed", failure=failure_of(run.failed, called))
        elif i in told:
            epoch = told[i]
            try:
                points[i] = (cast(Epoch, epoch), check(epoch, run, objective, called))
            except BrokenContractError as error:
                failed[i] = Ending(end="failed", failure=failure_of(error, called))
    return points, failed


def _last(run: AttemptRun, failure: Failure | None, called: str, *, scored: bool) -> Ending:
    """How a run ended whose trainer has ended."""
    early = run.at < run.epochs - SLACK
    if run.failed is not None:
        failure = failure_of(run.failed, called)
    elif failure is None and run.watch.asked is not None and early:
        return Ending(end="paused", reason=_waits(run))
    elif failure is None and not scored:
        reason = f"{called}: {_asked(run)} ended after {run.at:g} of {run.epochs} epochs without any scores"
        failure = Failure(kind="plugin", reason=reason)
    if failure is not None:
        return Ending(end="failed", failure=failure)
    itself = f"it ended by itself after {run.at:g} of {run.epochs} epochs"
    return Ending(end="complete", reason=itself if early else None)


def check(epoch: object, run: AttemptRun, objective: Objective, called: str) -> Point:
    """What a trainer yielded, checked and timed, as a point of the curve.

    Raises:
        BrokenContractError: It is no epoch, runs backwards or beyond the end, or its scores are missing or not finite.
    """
    name = _asked(run)
    if not isinstance(epoch, Epoch):
        raise BrokenContractError("plugin", f"{called}: {name} yielded {type(epoch).__name__}, not an autotune.Epoch")
    if not _is_number(epoch.at) or not run.at + SLACK < epoch.at <= run.epochs + SLACK:
        raise BrokenContractError(
            "plugin", f"{called}: {name} yielded an epoch at {epoch.at} after {run.at:g}, out of {run.epochs} epochs"
        )
    if not isinstance(epoch.images, numbers.Integral) or epoch.images < 0:
        raise BrokenContractError(
            "plugin", f"{called}: {name} yielded an epoch with images={epoch.images!r}; write a whole number"
        )
    metrics = _checked_metrics(epoch.metrics, objective, called)
    path = None
    if epoch.checkpoint is not None:
        if not isinstance(epoch.checkpoint, Checkpoint) or epoch.checkpoint.path.parent != run.folder:
            raise BrokenContractError("plugin", f"{called}: an epoch's checkpoint must be what run.save returned")
        path = None if isinstance(epoch.checkpoint, HeldCheckpoint) else _relative(epoch.checkpoint.path)
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


def _asked(run: AttemptRun) -> str:
    """The method that yields the run's epochs."""
    return "fit_many" if run.batched else "fit"


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _relative(path: Path) -> str:
    """A checkpoint's path relative to the study's folder."""
    return "/".join(path.parts[-4:])


def _waits(run: AttemptRun) -> str:
    watch = run.watch
    cause = "the time ran out" if watch.asked == "deadline" else f"{watch.signals.asked or 'a signal'} came"
    return f"waits: {cause} at epoch {run.at:.3g} of {run.epochs}"
