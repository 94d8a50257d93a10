"""Optuna's studies in a study's folder: opened, and kept quiet."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import JournalStorage

from autotune.engine.journal import LOCK, JournalFile, damaged
from autotune.engine.journal_lock import JournalLock
from autotune.errors import StudyError
from autotune.objective import Objective

FILE = "journal.log"
SEARCH, MEMBERS, FINAL, SCREEN = "search", "members", "final", "screen"

optuna.logging.disable_default_handler()
logging.getLogger("optuna").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Journal:
    """The four Optuna studies of a folder.

    Attributes:
        search: The trials that feed the sampler, with copies of the best members of their batches.
        members: The other trials of batches that one of the search leads; the sampler does not see them.
        final: The trials that continue others; the sampler does not see them.
        screen: The looks at candidates before the search, each with the mean of its scores.
    """

    search: optuna.Study
    members: optuna.Study
    final: optuna.Study
    screen: optuna.Study


def open_journal(folder: Path, objective: Objective) -> Journal:
    """Opens a study's journal for writing, or begins one; other workers may have it open too.

    A last line torn by a crash is cut off before the first write, which would complete it to nonsense.

    Raises:
        StudyError: The journal is damaged, or belongs to a study with other goals.
    """
    storage = open_storage(folder / FILE, JournalLock(folder / LOCK))
    directions = [goal.direction for goal in objective.goals]
    search, members, final = (
        optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
        for name in (SEARCH, MEMBERS, FINAL)
    )
    members.sampler = RandomSampler()  # never asked: members are drawn from the space around their leader
    screen = optuna.create_study(storage=storage, study_name=SCREEN, direction="maximize", load_if_exists=True)
    screen.sampler = RandomSampler()  # never asked: every candidate is looked at once
    if [d.name.lower() for d in search.directions] != directions:
        raise StudyError(
            f"{folder}: the study there has {len(search.directions)} goals in other directions than now",
            hint="name another study: name=...",
        )
    return Journal(search, members, final, screen)


def read_journal(folder: Path) -> list[tuple[str, list[optuna.trial.FrozenTrial]]]:
    """Every trial in a study's journal, by stage, without writing anything.

    Raises:
        StudyError: The journal is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return []
    storage = open_storage(path, None)
    names = {s.study_name: s._study_id for s in storage.get_all_studies()}
    stages = [name for name in (SEARCH, MEMBERS, FINAL, SCREEN) if name in names]
    return [(name, storage.get_all_trials(names[name], deepcopy=False)) for name in stages]


def open_storage(path: Path, lock: JournalLock | None) -> JournalStorage:
    """Optuna's view of a journal's file.

    Args:
        path: The file; it need not be there.
        lock: Held while it is written; None for who only reads it, or has it alone.

    Raises:
        StudyError: It cannot be opened, or is damaged before its last line.
    """
    file = JournalFile(path, lock)
    try:
        return JournalStorage(file)
    except OSError as error:
        raise StudyError(f"{path}: cannot be opened ({error.strerror})") from error
    except (KeyError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise damaged(path, file.line, f"{type(error).__name__}: {error}") from error
