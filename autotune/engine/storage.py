"""Optuna's journal in a study's folder: opened, repaired, and kept quiet."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from autotune.engine.lines import cut_torn_line
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
    """Opens a study's journal for writing, or begins one; the caller has claimed the folder.

    A last line torn by a crash is cut off first, since the next write would complete it to nonsense.

    Raises:
        StudyError: The journal is damaged, or belongs to a study with other goals.
    """
    path = folder / FILE
    (folder / f"{FILE}.lock").unlink(missing_ok=True)  # a link that a killed writer left; it would cost 30 s
    cut_torn_line(path)
    storage = _load(path)
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
    storage = _load(path)
    names = {s.study_name: s._study_id for s in storage.get_all_studies()}
    stages = [name for name in (SEARCH, MEMBERS, FINAL, SCREEN) if name in names]
    return [(name, storage.get_all_trials(names[name], deepcopy=False)) for name in stages]


def _load(path: Path) -> JournalStorage:
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except OSError as error:
        raise StudyError(f"{path}: cannot be opened ({error.strerror})") from error
    except (KeyError, ValueError) as error:
        raise StudyError(
            f"{path}: the journal is damaged before its last line ({type(error).__name__}: {error})",
            hint="restore the file from a backup; the trials' folders and models are still whole",
        ) from error
