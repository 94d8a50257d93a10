"""Rebuilding a damaged journal from what is whole of it and from what the trials' folders say."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from autotune.engine.attempt import EPOCHS
from autotune.engine.fragments import Replay, replay
from autotune.engine.journal import LOCK
from autotune.engine.journal_lock import JournalLock
from autotune.engine.lock import claim
from autotune.engine.mending import mend
from autotune.engine.snapshot import objective_of, read_study
from autotune.engine.storage import FILE, FINAL, MEMBERS, SCREEN, SEARCH, open_storage
from autotune.errors import StudyError
from autotune.objective import Objective

WATCHED = 2.5
"""Seconds for which the counters of attempts are watched; workers raise them once a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvaged:
    """What came of a journal.

    Attributes:
        journal: The journal, which can be read.
        copy: Where the damaged one was kept; None where nothing was wrong.
        trials: How many trials the new one has.
        damage: A line on each damaged line, and what it held as far as that can be seen.
        restored: A line on each trial of which something was taken from its folder.
        lost: A line on each thing that is gone.
    """

    journal: Path
    copy: Path | None
    trials: int
    damage: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def salvage(folder: Path) -> Salvaged:
    """Rebuilds the journal of a study that nobody searches in; a copy of the damaged one is kept.

    Raises:
        StudyError: There is no study, another process searches there, or the folder cannot be written.
    """
    objective = objective_of(read_study(folder)[0])
    path = folder / FILE
    _refuse_workers(folder)
    with claim(folder), JournalLock(folder / LOCK).held():
        try:
            content = path.read_bytes() if path.exists() else b""
            if content and (count := _sound(path)) is not None:
                return Salvaged(journal=path, copy=None, trials=count)
            return _rebuilt(folder, path, replay(content), objective)
        except OSError as error:
            raise StudyError(f"{path}: cannot be rebuilt ({error.strerror})", hint="make room, then try again") from (
                error
            )


def _refuse_workers(folder: Path) -> None:
    """Makes sure that nobody works on the study: whoever does raises the counter of an attempt.

    Raises:
        StudyError: Somebody does.
    """
    counters = {path: path.read_bytes() for path in folder.glob("trials/*/attempt-*/alive") if not _ended(path.parent)}
    if counters:
        time.sleep(WATCHED)
    for path, count in counters.items():
        if path.exists() and path.read_bytes() != count:
            raise StudyError(
                f"{folder}: a worker is at work on {path.parent.relative_to(folder)}",
                hint="end all workers of the study, then try again",
            )


def _ended(attempt: Path) -> bool:
    try:
        lines = (attempt / EPOCHS).read_bytes().splitlines()
    except FileNotFoundError:
        return False
    return bool(lines) and lines[-1].startswith(b'{"end"')


def _sound(path: Path) -> int | None:
    """How many trials a journal has that can be read; None of a damaged one."""
    try:
        storage = open_storage(path, None)
    except StudyError:
        return None
    return sum(len(storage.get_all_trials(s._study_id, deepcopy=False)) for s in storage.get_all_studies())


def _rebuilt(folder: Path, path: Path, found: Replay, objective: Objective) -> Salvaged:
    names = _names(found)
    mended = mend(folder, found, names, objective)
    fresh = path.with_name(f"{FILE}.new")
    fresh.unlink(missing_ok=True)
    _write(fresh, found, names, mended.trials, objective)
    copy = _free_name(path)
    if path.exists():
        shutil.copy2(path, copy)
    os.replace(fresh, path)
    return Salvaged(
        journal=path,
        copy=copy if copy.exists() else None,
        trials=len(mended.trials),
        damage=found.damage,
        restored=mended.restored,
        lost=mended.lost,
    )


def _names(found: Replay) -> list[str]:
    """The names of Optuna's studies in the order of their numbers; a lost one gets the name that is missing."""
    missing = [name for name in (SEARCH, MEMBERS, FINAL, SCREEN) if name not in found.studies.values()]
    count = max([*found.studies, len(found.studies) + len(missing) - 1, *(s for s, _ in found.trials)], default=-1) + 1
    names = []
    for number in range(count):
        known = found.studies.get(number)
        names.append(known or (missing.pop(0) if missing else f"lost-{number}"))
    return names


def _write(
    path: Path, found: Replay, names: list[str], trials: list[tuple[int, FrozenTrial]], objective: Objective
) -> None:
    """Writes a journal that makes the same studies and trials, in the same order."""
    storage = open_storage(path, None)
    for number, name in enumerate(names):
        screen = [StudyDirection.MAXIMIZE]
        goals = [StudyDirection[goal.direction.upper()] for goal in objective.goals]
        storage.create_new_study(screen if name == SCREEN else goals, name)
        for key, value in found.attributes.get(number, {}).items():
            storage.set_study_user_attr(number, key, value)
    for study, trial in trials:
        storage.create_new_trial(study, template_trial=trial)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_name(path: Path) -> Path:
    """Where a copy of the damaged journal goes; earlier copies stay."""
    number = 1
    while (copy := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return copy
