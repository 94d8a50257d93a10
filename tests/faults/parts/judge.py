"""The judge: reads a study that was mistreated, and says what was lost, trained in vain, or counted twice."""

from __future__ import annotations

import hashlib
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import traces

import autotune

KINDS = ("oom", "diverged", "data", "plugin", "lost", "timeout")
SLACK = 1e-6
UNWRITABLE, REQUEUE = 5, 75
"""Exit codes of a study whose folder cannot be written, and of what asks to be started again."""


@dataclass(frozen=True, kw_only=True)
class Calm:
    """What an undisturbed run of a study came to.

    Attributes:
        trials: Its trials by seed: recipe, state, and the scores of every epoch.
        report: Its report without times.
        table: The rows of its trials.csv, without times.
        best: The best model's trial, by seed, its epoch, and the digest of its weights.
    """

    trials: Mapping[int, tuple[Any, ...]]
    report: str
    table: Sequence[Mapping[str, str]]
    best: tuple[Any, ...]

    @classmethod
    def of(cls, folder: Path) -> Calm:
        """Reads a study's folder."""
        study = autotune.open(folder)
        return cls(
            trials={trial.seed: _course(trial) for trial in study.trials},
            report=traces.lasting_report(folder),
            table=traces.lasting_table(folder),
            best=_best(study),
        )


def judge(
    folder: Path, *, trials: int, epochs: int, calm: Calm | None = None, best_may_differ: bool = False
) -> list[str]:
    """What is wrong with a study that should be done; nothing, if all is well.

    Args:
        folder: The study's folder.
        trials: How many it was asked for.
        epochs: How long each trains, unless it is pruned or fails.
        calm: What an undisturbed run came to, where its trials do not depend on the order in which they end.
        best_may_differ: Whether another model may have been handed over, e.g. since the best could not be saved.
    """
    study = autotune.open(folder)
    found = [f"the study is {study.state}"] if study.state != "done" else []
    found += counted(study, trials)
    for trial in study.trials:
        found += [f"trial {trial.number}: {problem}" for problem in ended(trial, epochs)]
    folders = traces.trial_folders(folder)
    if strays := sorted(set(folders) - {trial.number for trial in study.trials}):
        found.append(f"trials {strays} have recipes, but are not in the study")
    for number, home in folders.items():
        found += [f"trial {number}: {problem}" for problem in trained_again(traces.attempts(home))]
    found += _handed_over(study)
    if calm is not None and not found:
        found += _differences(Calm.of(folder), calm, best_may_differ=best_may_differ)
    return found


def counted(study: autotune.Study, wanted: int) -> Iterator[str]:
    """Whether there are exactly as many trials as were asked for, each once."""
    here = [t for t in study.trials if t.stage == "search" and not t.follows]
    if len(here) != wanted:
        yield f"{len(here)} trials were counted, {wanted} were asked for"
    for what, values in (("number", [t.number for t in study.trials]), ("seed", [t.seed for t in here])):
        if twice := sorted(value for value, times in Counter(values).items() if times > 1):
            yield f"the {what}s {twice} stand there more than once"
    rows = traces.lasting_table(study.path)
    if [int(row["number"]) for row in rows] != [t.number for t in study.trials]:
        yield f"trials.csv has {len(rows)} rows, which are not the {len(study.trials)} trials"


def ended(trial: autotune.Trial, epochs: int) -> Iterator[str]:
    """Whether a trial ended as it should, with a whole curve."""
    if trial.state == "running":
        yield "it has not ended"
    if trial.state == "failed" and (
        trial.failure is None or trial.failure.kind not in KINDS or not trial.failure.reason
    ):
        yield f"it failed without a kind and a reason: {trial.failure}"
    at = [point.at for point in trial.curve]
    if at != [float(n + 1) for n in range(len(at))]:
        yield f"its curve has the epochs {at}"
    if trial.state == "complete" and len(at) != epochs:
        yield f"it is complete after {len(at)} of {epochs} epochs"


def left(code: int, *, felled: bool, spoiled: bool) -> Iterator[str]:
    """Whether the command may end like this.

    Args:
        code: Its exit code, or minus the signal that killed it.
        felled: Whether the monkey has killed it.
        spoiled: Whether the disk was full, or the study read-only, at some time since it was started.
    """
    allowed = {0, REQUEUE, *([-signal.SIGKILL] if felled else []), *([UNWRITABLE] if spoiled else [])}
    if code not in allowed:
        yield f"the command ended with the exit code {code}"


def trained_again(attempts: Sequence[traces.Lines]) -> Iterator[str]:
    """Whether an attempt trained again more than one recorded epoch, and whether more than one counts.

    An epoch whose checkpoint was damaged, or could not be saved, may be trained again besides, also where it was the
    last one: a worker that was killed before it had told so has ended nothing.

    Args:
        attempts: Those of one trial, in order.
    """
    recorded: list[tuple[float, bool]] = []
    excused = 0
    for attempt in attempts:
        if attempt.start is not None:
            beyond = [one for one in recorded if one[0] > attempt.start + SLACK]
            again = sum(saved for _, saved in beyond)
            if again > 1 + excused:
                yield f"attempt {attempt.number} went {again} saved epochs back"
            recorded = [one for one in recorded if one[0] <= attempt.start + SLACK]
        recorded += attempt.epochs
        excused += attempt.damaged
    unsaved = {one.number for one in attempts[:-1] if one.epochs and not one.epochs[-1][1]}
    ends = [one.number for one in attempts if one.end in ("complete", "pruned") and one.number not in unsaved]
    if len(ends) > 1:
        yield f"the attempts {ends} all say that they ended it"


def _handed_over(study: autotune.Study) -> Iterator[str]:
    """Whether there is a best model which can be loaded, if any trial has a score."""
    if study.best is None:
        if any(trial.value is not None for trial in study.trials):
            yield "there are scores, but no best model"
        return
    try:
        study.best.load()
    except autotune.AutotuneError as error:
        yield f"the best model cannot be loaded: {error.message}"


def _differences(found: Calm, calm: Calm, *, best_may_differ: bool) -> Iterator[str]:
    """In what a study differs from an undisturbed one."""
    if missing := sorted(calm.trials.keys() - found.trials.keys()):
        yield f"the trials with the seeds {missing} are missing"
    for seed in sorted(calm.trials.keys() & found.trials.keys()):
        names = ("number", "recipe", "state", "curve")
        for name, here, there in zip(names, found.trials[seed], calm.trials[seed], strict=True):
            if here != there:
                yield f"the trial with the seed {seed} has another {name}: {here}, undisturbed {there}"
    if best_may_differ:
        return
    if found.best != calm.best:
        yield f"the best model is {found.best}, undisturbed {calm.best}"
    if found.table != calm.table:
        rows = [here for here, there in zip(found.table, calm.table, strict=False) if here != there]
        yield f"trials.csv differs, first in {rows[0] if rows else 'its length'}"
    if found.report != calm.report:
        pairs = zip(found.report.splitlines(), calm.report.splitlines(), strict=False)
        lines = [f"{here!r}, undisturbed {there!r}" for here, there in pairs if here != there]
        yield f"report.md differs, first in {lines[0] if lines else 'its length'}"


def _course(trial: autotune.Trial) -> tuple[Any, ...]:
    curve = tuple((point.at, tuple(sorted(point.metrics.items()))) for point in trial.curve)
    return trial.number, tuple(sorted(trial.recipe.items())), trial.state, curve


def _best(study: autotune.Study) -> tuple[Any, ...]:
    if study.best is None:
        return ()
    digest = hashlib.sha256((study.best.path / "model.safetensors").read_bytes()).hexdigest()
    return study.best.trial.seed, study.best.at, digest
