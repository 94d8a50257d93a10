"""The checkpoints of a study: which are whole, which are best, and thinning out what nobody needs."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from autotune.checkpoint import Checkpoint
from autotune.engine.attempt import attempts, trial_folder
from autotune.objective import Objective
from autotune.study import Point, Trial

KEEP_TRIALS = 5
_NAME = re.compile(r"checkpoint-(\d+(?:\.\d+)?(?:e[+-]\d+)?)(?:-(\d+))?\.json")


def saved(attempt: Path) -> list[Path]:
    """Every checkpoint of an attempt, the oldest first: by the epochs done, for clocks may jump."""
    found = []
    try:
        names = os.listdir(attempt)
    except FileNotFoundError:
        return []
    for name in names:
        if match := _NAME.fullmatch(name):
            found.append((float(match[1]), int(match[2] or 1), (attempt / name).with_suffix(".safetensors")))
    return [path for _, _, path in sorted(found)]


def epochs_of(checkpoint: Checkpoint) -> float:
    """Epochs done when a checkpoint was saved."""
    return float(checkpoint.facts.get("epochs_done", 0.0))


def damage(checkpoint: Checkpoint) -> str | None:
    """Why a checkpoint's tensors are not those that were saved, or None; nothing is decoded."""
    digest = hashlib.sha256()
    try:
        with checkpoint.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        return f"{checkpoint.path}: cannot be read ({error.strerror})"
    if digest.hexdigest() != checkpoint.facts.get("sha256"):
        return f"{checkpoint.path}: its bytes are not those that were saved"
    return None


def best_point(curve: Iterable[Point], objective: Objective) -> Point | None:
    """The best epoch of a curve; the first of equals; None where no epoch has scores."""
    return objective.best((p, p.metrics) for p in curve if p.metrics)


def thin_attempt(attempt: Path, keep: Collection[str]) -> None:
    """Removes a running attempt's checkpoints but for the newest two and those named."""
    for path in saved(attempt)[:-2]:
        if path.name not in keep:
            _remove(path)


def best_saved(curve: Iterable[Point], objective: Objective) -> Point | None:
    """The best epoch of a curve among those that have a checkpoint; an epoch may have none where the disk was full."""
    return best_point((p for p in curve if p.checkpoint), objective)


def needed(study: Path, trials: Iterable[Trial], objective: Objective) -> set[Path]:
    """The checkpoints of trials that have ended which somebody may still ask for.

    These are the best saved epoch of each of the best few trials, and the last two of the leader and of trials that a
    waiting one continues: from the last one they go on, and their weights can be averaged.
    """
    trials = list(trials)
    ranked = objective.ranked((t, t.metrics) for t in trials if t.value is not None and _holds(t))
    keep = set()
    for trial in ranked[:KEEP_TRIALS]:
        if (point := best_saved(trial.curve, objective)) is not None:
            keep.add(study / str(point.checkpoint))
    continued = {t.parent for t in trials if t.parent is not None and t.state == "running"}
    for trial in [*ranked[:1], *(t for t in trials if t.number in continued)]:
        keep |= {study / name for name in _names(trial)[-2:]}
    return keep


def thin_study(study: Path, trials: Iterable[Trial], ended: Collection[int], objective: Objective) -> set[int]:
    """Removes the checkpoints that nobody will ask for, once trials have ended.

    Trials that run or wait are left alone.

    Returns:
        The numbers of the trials that were thinned out.
    """
    trials = list(trials)
    keep = needed(study, trials, objective)
    thinned = set()
    for trial in trials:
        if trial.state == "running":
            continue
        if trial.number in ended or (_holds(trial) and any(study / name not in keep for name in _names(trial))):
            thinned.add(trial.number)
            for _, folder in attempts(trial_folder(study, trial.number)):
                _clear(folder, keep)
    return thinned


def _holds(trial: Trial) -> bool:
    return any(p.checkpoint for p in trial.curve)


def _names(trial: Trial) -> list[str]:
    return [p.checkpoint for p in trial.curve if p.checkpoint]


def _clear(attempt: Path, keep: Collection[Path]) -> None:
    for path in attempt.glob("*checkpoint-*"):
        if path.with_suffix(".safetensors") not in keep:
            path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    """Removes a checkpoint, what vouches for it first."""
    path.with_suffix(".json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
