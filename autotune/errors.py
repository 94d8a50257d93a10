"""Everything that autotune raises on purpose.

AutotuneError                exit 1   any mistake that has a remedy
├── UsageError               exit 2   the request cannot be understood
│   ├── ConfigError                   mistakes in study.toml or in key=value, all at once
│   └── UnknownName                   no such trainer, backbone, source, policy, ...
├── DataError                exit 3   the images cannot be used
├── WeightsUnavailable       exit 4   pretrained weights cannot be had
├── StudyError               exit 5   the study's folder cannot be used
├── BudgetError              exit 6   the time or the number of trials is too small
├── CheckpointError          exit 7   a checkpoint is cut, altered, or of another version
├── PluginError              exit 8   a plugin broke its contract
├── RepeatedFailure          exit 9   trial after trial fails alike
├── Interrupted              exit 130 stopped by a signal; everything is saved
│   └── Requeue              exit 75  stopped by who lends the machine; asks to be started again
└── TrialFailure                      one trial failed; the search goes on
    ├── Diverged             kind "diverged"
    ├── OutOfMemory          kind "oom"
    └── BadData              kind "data"
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar


class AutotuneError(Exception):
    """A mistake with a remedy.

    Args:
        message: What is wrong: the thing, the value and the place.
        hint: What to do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(AutotuneError):
    """The request cannot be understood."""

    exit_code = 2


class ConfigError(UsageError):
    """Mistakes in a study file or in ``key=value``, reported together.

    Args:
        problems: One line for each mistake, each with its own place and remedy.
        where: The file, or the command line.
    """

    def __init__(self, problems: Sequence[str], *, where: str) -> None:
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__("\n".join([f"{where}: {count}", *(f"  {p}" for p in problems)]))
        self.problems = tuple(problems)


class UnknownName(UsageError):
    """No such name; the nearest ones are proposed.

    Args:
        what: The kind of thing, e.g. ``trainer``.
        name: The name that was asked for.
        known: The names that exist.
        also: A further line, e.g. the plugins that could not be loaded.
    """

    def __init__(self, what: str, name: str, known: Iterable[str], *, also: str | None = None) -> None:
        known = sorted(known)
        hint = near_matches(name, known)
        super().__init__(f"no {what} is called {name!r}", hint="\n".join(filter(None, [hint, also])))
        self.name = name


class DataError(AutotuneError):
    """The images cannot be used as they are."""

    exit_code = 3


class WeightsUnavailable(AutotuneError):
    """Pretrained weights cannot be had here."""

    exit_code = 4


class StudyError(AutotuneError):
    """The study's folder cannot be used."""

    exit_code = 5


class BudgetError(AutotuneError):
    """The time, or the number of trials, is too small."""

    exit_code = 6


class CheckpointError(AutotuneError):
    """A checkpoint is cut short, altered, or of another version."""

    exit_code = 7


class PluginError(AutotuneError):
    """A plugin broke its contract; the message names it and its distribution."""

    exit_code = 8


class RepeatedFailure(AutotuneError):
    """Trial after trial fails alike, so that going on would be of no use."""

    exit_code = 9


class Interrupted(AutotuneError):
    """Stopped by a signal, everything saved."""

    exit_code = 130


class Requeue(Interrupted):
    """Stopped by who lends the machine, by SIGTERM or SIGUSR1; the same command goes on when it is started again.

    Its exit code is that of ``EX_TEMPFAIL`` in sysexits.h: a temporary failure, try again later.
    """

    exit_code = 75


class TrialFailure(AutotuneError):
    """One trial failed; raised by trainers, recorded by the host.

    The search goes on. A failed trial has a kind and a reason and never a score.
    """

    kind: ClassVar[str] = "plugin"


class Diverged(TrialFailure):
    """The loss is not a finite number."""

    kind = "diverged"


class OutOfMemory(TrialFailure):
    """The device's memory does not suffice, smaller micro-batches included."""

    kind = "oom"


class BadData(TrialFailure):
    """An image could not be read during training."""

    kind = "data"


def near_matches(name: str, known: Sequence[str], *, most: int = 3) -> str:
    """Says which known names were probably meant, or lists them when few."""
    close = difflib.get_close_matches(name, known, n=most, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    if not known:
        return "none is installed"
    if len(known) <= 12:
        return "known: " + ", ".join(known)
    return f"{len(known)} are known, e.g. " + ", ".join(known[:most])
