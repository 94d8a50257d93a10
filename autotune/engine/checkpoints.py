"""The checkpoints of a study: which are whole, which are best, and thinning out what nobody needs."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from functools import cmp_to_key
from pathlib import Path

from autotune.checkpoint import Checkpoint
from autotune.engine.attempt import attempts, trial_folder
from autotune.objective import Objective
from autotune.study import Point, Trial

KEEP_TRIALS = 5


def saved(attempt: Path) -> list[Path]:
    """Every checkpoint of an attempt, the oldest first."""
    found = [(json.stat().st_mtime_ns, json.with_suffix(".safetensors")) for json in attempt.glob("checkpoint-*.json")]
    return [path for _, path in sorted(found)]


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


def thin_study(study: Path, trials: Iterable[Trial], ended: Collection[int], objective: Objective) -> set[int]:
    """Removes the checkpoints that nobody will ask for, once trials have ended.

    Kept are the best epoch of each of the best few trials, and the leader's last two: from the last one it can be
    continued, and their weights can be averaged. Trials that run or wait are left alone.

    Returns:
        The numbers of the trials that were thinned out.
    """
    trials = list(trials)

    def order(a: Trial, b: Trial) -> int:
        return objective.better(b.metrics, a.metrics) - objective.better(a.metrics, b.metrics)

    ranked = sorted((t for t in trials if t.value is not None), key=cmp_to_key(order))
    keep = set()
    for trial in ranked[:KEEP_TRIALS]:
        if (point := best_point(trial.curve, objective)) and point.checkpoint:
            keep.add(study / point.checkpoint)
    if ranked:
        keep |= {study / name for name in [p.checkpoint for p in ranked[0].curve if p.checkpoint][-2:]}
    thinned = set()
    for trial in trials:
        if trial.state == "running":
            continue
        if trial.number in ended or any(p.checkpoint and study / p.checkpoint not in keep for p in trial.curve):
            thinned.add(trial.number)
            for _, folder in attempts(trial_folder(study, trial.number)):
                _clear(folder, keep)
    return thinned


def _clear(attempt: Path, keep: Collection[Path]) -> None:
    for path in attempt.glob("*checkpoint-*"):
        if path.with_suffix(".safetensors") not in keep:
            path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    """Removes a checkpoint, what vouches for it first."""
    path.with_suffix(".json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
