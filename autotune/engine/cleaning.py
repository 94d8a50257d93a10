"""Removing what a study no longer needs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from autotune.checkpoint import read_checkpoint
from autotune.engine.attempt import EPOCHS, attempts, read_attempt, trial_folder
from autotune.engine.checkpoints import best_saved, epochs_of, needed, saved
from autotune.engine.snapshot import Records, objective_of, read_study
from autotune.engine.storage import read_journal
from autotune.errors import CheckpointError
from autotune.objective import Objective
from autotune.study import Trial

QUIET = 3600.0
"""Seconds after which a file that is half written, or a new attempt, is nobody's any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One thing that is not needed.

    Attributes:
        path: A file, or an empty folder.
        why: What it is.
        nbytes: Its size.
    """

    path: Path
    why: str
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What was removed, or would be.

    Attributes:
        study: The study's folder.
        removed: Each thing.
        nbytes: Their size together.
        denied: Things that cannot be removed, with the reason.
        dry: Whether nothing was removed.
    """

    study: Path
    removed: tuple[Removal, ...]
    nbytes: int
    denied: tuple[str, ...]
    dry: bool


def clean(study: Path, *, dry_run: bool = False) -> Cleaned:
    """Removes checkpoints of trials that lost, files that were left half written, and attempts that nobody runs.

    The best model, checkpoints of finalists, and those from which a trial can go on stay; a search may run meanwhile.

    Args:
        study: The study's folder.
        dry_run: Whether only to look.

    Raises:
        StudyError: There is no study, or it is damaged.
    """
    objective = objective_of(read_study(study)[0])
    trials = Records(study, objective).trials(read_journal(study))
    found = {r.path: r for r in (*_checkpoints(study, trials, objective), *_attempts(study, trials), *_halves(study))}
    gone, denied = [], []
    for removal in found.values():
        if not dry_run:
            try:
                _remove(removal.path)
            except FileNotFoundError:
                continue
            except OSError as error:
                denied.append(f"{removal.path}: {error.strerror}")
                continue
        gone.append(removal)
    nbytes = sum(removal.nbytes for removal in gone)
    return Cleaned(study=study, removed=tuple(gone), nbytes=nbytes, denied=tuple(denied), dry=dry_run)


def _checkpoints(study: Path, trials: Collection[Trial], objective: Objective) -> Iterator[Removal]:
    """Checkpoints that nobody will ask for."""
    keep = needed(study, trials, objective)
    for trial in trials:
        folders = attempts(trial_folder(study, trial.number))
        if trial.state == "running":
            yield from _superseded(study, trial, [folder for _, folder in folders], objective)
            continue
        for _, folder in folders:
            for path in sorted(folder.glob("checkpoint-*")):
                if path.with_suffix(".safetensors") not in keep:
                    yield _removal(path, f"checkpoints of trials that have {_ended(trial)}")


def _superseded(study: Path, trial: Trial, folders: list[Path], objective: Objective) -> Iterator[Removal]:
    """Checkpoints in earlier attempts of a trial that goes on, but for its newest two and its best."""
    point = best_saved(trial.curve, objective)
    ranked: list[tuple[float, Path]] = []
    for folder in folders:
        for path in saved(folder):
            with contextlib.suppress(CheckpointError):  # a damaged one is not gone on from
                ranked.append((epochs_of(read_checkpoint(path)), path))
    keep = {path for _, path in sorted(ranked)[-2:]} | ({study / str(point.checkpoint)} if point else set())
    for folder in folders[:-1]:
        for path in sorted(folder.glob("checkpoint-*")):
            if path.with_suffix(".safetensors") not in keep:
                yield _removal(path, "checkpoints of trials that go on, with newer ones")


def _attempts(study: Path, trials: Collection[Trial]) -> Iterator[Removal]:
    """Attempts that were claimed and never begun, and that nobody can begin any more."""
    for trial in trials:
        folders = [folder for _, folder in attempts(trial_folder(study, trial.number))]
        for folder in folders if trial.state != "running" else folders[:-1]:
            if _age(folder) > QUIET and not read_attempt(folder, study).begun:
                names = sorted(folder.iterdir())
                if all(path.name in (EPOCHS, "alive") for path in names):
                    for path in (*names, folder):
                        yield _removal(path, "attempts that never began")


def _halves(study: Path) -> Iterator[Removal]:
    """What writers that died left half done."""
    places = [study, study / "best", *(study / "trials").glob("*"), *(study / "trials").glob("*/attempt-*")]
    for place in places:
        for path in sorted(place.glob(".*.part")):
            if _age(path) > QUIET:
                yield _removal(path, "half written")
    for folder in (study / "best.new", study / "best.old", *study.glob("*.lock.*.new")):
        if folder.is_dir() and _age(folder) > QUIET and (folder.name != "best.old" or (study / "best").is_dir()):
            for path in (*sorted(folder.iterdir()), folder):
                yield _removal(path, "left when something was put in place")


def _ended(trial: Trial) -> str:
    return {"complete": "been beaten", "pruned": "been pruned"}.get(trial.state, "failed")


def _removal(path: Path, why: str) -> Removal:
    try:
        return Removal(path=path, why=why, nbytes=0 if path.is_dir() else path.stat().st_size)
    except FileNotFoundError:  # a search that runs has removed it meanwhile
        return Removal(path=path, why=why, nbytes=0)


def _age(path: Path) -> float:
    """Seconds since something was changed; 0 where it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove(path: Path) -> None:
    if path.is_dir():
        os.rmdir(path)
    else:
        path.unlink()
