"""Where a trial goes on: from the newest whole checkpoint of its earlier attempts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.checkpoint import Checkpoint, read_checkpoint
from autotune.engine.attempt import Attempt, attempts, merge
from autotune.engine.checkpoints import damage, epochs_of, saved
from autotune.errors import CheckpointError
from autotune.study import SLACK, Point


class UnseenError(Exception):
    """Checkpoints were taken for whole that nobody has looked at; the lock is given back while one does."""


class Looks:
    """What was found of checkpoints that trials may go on from.

    To look at one is to read all of it. That may take longer than the study's lock can be held, so who decides under
    the lock takes what nobody has looked at for whole, and asks by `check` whether the decision stands.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[Path, str], str | None] = {}
        self._unseen: dict[tuple[Path, str], Checkpoint] = {}

    def damage(self, checkpoint: Checkpoint) -> str | None:
        """What is the matter with a checkpoint; None if nothing is, or if nobody has looked."""
        key = checkpoint.path, str(checkpoint.facts.get("sha256"))
        if key not in self._found:
            self._unseen[key] = checkpoint
        return self._found.get(key)

    def check(self) -> None:
        """Asked before anything is done that was decided by checkpoints.

        Raises:
            UnseenError: Some were taken for whole.
        """
        if self._unseen:
            raise UnseenError

    def look(self) -> None:
        """Looks at those that were taken for whole; the caller does not hold the study's lock."""
        self._found |= {key: damage(checkpoint) for key, checkpoint in self._unseen.items()}
        self._unseen.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where an attempt starts.

    Attributes:
        checkpoint: What it starts from; None starts from the beginning.
        start: Epochs done there.
        curve: The trial's epochs up to there.
        problems: A line on every checkpoint that could not be used.
    """

    checkpoint: Checkpoint | None
    start: float
    curve: tuple[Point, ...]
    problems: tuple[str, ...]


def way_on(
    home: Path, past: Sequence[Attempt], looks: Looks, *, parent: Path | None = None, most: float = math.inf
) -> Way:
    """Finds where a trial goes on.

    A checkpoint of a whole epoch counts only if its epoch was recorded too: a crash between the two would
    otherwise leave a hole in the curve.

    Args:
        home: The trial's folder.
        past: What its attempts left.
        looks: What was found of checkpoints; to be asked whether the way stands.
        parent: The folder of the trial that it continues, if any.
        most: Epochs from which on nothing counts; what is trained in a batch starts abreast.
    """
    curve = tuple(p for p in merge(past) if p.at <= most + SLACK)
    last = curve[-1].at if curve else 0.0
    problems: list[str] = []
    for checkpoint in _by_epochs(home, problems):
        at = epochs_of(checkpoint)
        if at > most + SLACK or (at > last + SLACK and at == int(at)):
            continue
        if problem := looks.damage(checkpoint):
            problems.append(f"{problem}; an older one is used")
            continue
        kept = tuple(p for p in curve if p.at <= at + SLACK)
        return Way(checkpoint=checkpoint, start=at, curve=kept, problems=tuple(problems))
    for checkpoint in _by_epochs(parent, problems) if parent else ():
        if problem := looks.damage(checkpoint):
            problems.append(f"{problem}; an older one is used")
            continue
        return Way(checkpoint=checkpoint, start=epochs_of(checkpoint), curve=(), problems=tuple(problems))
    return Way(checkpoint=None, start=0.0, curve=(), problems=tuple(problems))


def deaths(past: Sequence[Attempt]) -> int:
    """How many attempts in a row have died without a new epoch; those that could not even begin do not count.

    Epochs that were trained again, for an earlier attempt had left no checkpoint of them, are not new.
    """
    count, furthest = 0, 0.0
    for one in past:
        reached = one.points[-1].at if one.points else 0.0
        new = reached > furthest + SLACK
        count = 0 if new or one.end is not None else count + one.begun
        furthest = max(furthest, reached)
    return count


def _by_epochs(home: Path, problems: list[str]) -> list[Checkpoint]:
    """A trial's readable checkpoints, the one with most epochs first, of equals the newest."""
    found: list[tuple[float, int, int, Checkpoint]] = []
    for number, folder in attempts(home):
        for place, path in enumerate(saved(folder)):
            try:
                checkpoint = read_checkpoint(path)
            except CheckpointError as error:
                problems.append(error.message)
                continue
            found.append((epochs_of(checkpoint), number, place, checkpoint))
    return [entry[3] for entry in sorted(found, key=lambda entry: entry[:3], reverse=True)]
