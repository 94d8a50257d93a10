"""Attempts: the folders in which a trial runs, and the curve that they leave.

``trials/00012/attempt-2/epochs.jsonl`` holds one json object a line: first where the attempt starts and whose it is
(``{"start": 3.0, "worker": ..., "lease": ...}``), then its epochs, the trainer's notes, and at last how it ended. An
attempt without an end is at work, or died.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from autotune.engine.lines import append_line, cut_torn_line, read_lines, unwritable
from autotune.engine.outage import insist
from autotune.errors import StudyError
from autotune.study import SLACK, Point

EPOCHS = "epochs.jsonl"


def trial_folder(study: Path, number: int) -> Path:
    """The folder of a trial."""
    return study / "trials" / f"{number:05d}"


def claim_trial(study: Path, last: int, check: Callable[[], None] | None = None) -> tuple[int, Path]:
    """Takes the next free number by making its folder; the caller holds the study's lock.

    A folder that nobody in the journal has, and in which nothing was tried, was left by a death and is taken again.

    Args:
        study: The study's folder.
        last: The highest number that the journal knows; -1 if there is none.
        check: Asked before anything is made or removed; raises where the lock was lost while room was waited for.

    Raises:
        StudyError: The folder cannot be made.
    """
    home = study / "trials"
    try:
        insist(home, lambda: home.mkdir(exist_ok=True), check)
        while True:
            last += 1
            folder = trial_folder(study, last)
            insist(folder, partial(folder.mkdir, exist_ok=True), check)
            if not attempts(folder):
                for left in folder.iterdir():
                    insist(left, left.unlink, check)
                return last, folder
    except OSError as error:
        raise StudyError(f"{home}: cannot be written ({error.strerror})", hint="make room, or check the rights") from (
            error
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who has claimed an attempt.

    Attributes:
        worker: The mark of the call; see `autotune.engine.processes`.
        lease: The folder whose counter counts for the attempt, relative to the study's folder: its own, or that of
            another one of its batch.
    """

    worker: str
    lease: str


def claim_attempt(trial: Path) -> Path:
    """Takes the trial's next attempt by making its folder; the caller holds the study's lock.

    Raises:
        StudyError: The folder cannot be made.
    """
    number = max((n for n, _ in attempts(trial)), default=0) + 1
    while True:
        folder = trial / f"attempt-{number}"
        try:
            insist(folder, partial(folder.mkdir, parents=True))
            return folder
        except FileExistsError:
            number += 1
        except OSError as error:
            raise unwritable(trial, error) from error


def read_claim(folder: Path) -> Claim | None:
    """Who has claimed an attempt; None if nobody did, or a death came in between."""
    try:
        with (folder / EPOCHS).open("rb") as file:
            first = json.loads(file.readline())
    except (OSError, ValueError):
        return None
    worker = first.get("worker")
    return None if worker is None else Claim(worker=worker, lease=first["lease"])


def open_attempt(trial: Path) -> Path | None:
    """A trial's newest attempt, if it has not ended: its worker is at work, or died."""
    newest = max(attempts(trial), default=None)
    if newest is None:
        return None
    lines = read_lines(newest[1] / EPOCHS)
    return None if lines and "end" in lines[-1] else newest[1]


def is_taken_over(folder: Path) -> bool:
    """Whether a later attempt at the same trial was claimed."""
    number = int(folder.name.rpartition("-")[2])
    return (folder.parent / f"attempt-{number + 1}").exists()


def attempts(trial: Path) -> list[tuple[int, Path]]:
    """The attempts of a trial and their folders, in order."""
    found = []
    for path in trial.glob("attempt-*"):
        if match := re.fullmatch(r"attempt-(\d+)", path.name):
            found.append((int(match[1]), path))
    return sorted(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one attempt left.

    Attributes:
        folder: Where it ran.
        start: The epoch that it started from.
        points: Its epochs; a point's checkpoint is relative to the study's folder and was not looked for.
        notes: The trainer's lines.
        end: ``complete``, ``pruned``, ``failed`` or ``paused``; None if it died.
        seconds: Wall time; of an attempt that died, until its last epoch.
        begun: Whether it got as far as its first line.
    """

    folder: Path
    start: float
    points: tuple[Point, ...]
    notes: tuple[str, ...]
    end: str | None
    seconds: float
    begun: bool = True


def begin(folder: Path, *, start: float, claim: Claim | None = None, durable: bool = True) -> None:
    """Writes an attempt's first line; without a claim nobody else can take it for alive."""
    whose = {} if claim is None else {"worker": claim.worker, "lease": claim.lease}
    append_line(folder / EPOCHS, {"start": start, **whose}, durable=durable)


def add_point(folder: Path, point: Point, *, durable: bool = True) -> None:
    """Writes one epoch; its checkpoint is named relative to the attempt's folder."""
    name = None if point.checkpoint is None else Path(point.checkpoint).name
    line: dict[str, Any] = {"at": point.at, "images": point.images, "seconds": round(point.seconds, 4)}
    append_line(folder / EPOCHS, {**line, "metrics": dict(point.metrics), "checkpoint": name}, durable=durable)


def add_note(folder: Path, text: str) -> None:
    """Writes a line of the trainer's."""
    append_line(folder / EPOCHS, {"note": text})


def finish(folder: Path, end: str, seconds: float, *, patient: bool = True) -> None:
    """Writes how the attempt ended and how long it took."""
    append_line(folder / EPOCHS, {"end": end, "seconds": round(seconds, 4)}, patient=patient)


def pause(folder: Path, seconds: float, *, epochs: bool) -> None:
    """Writes, as far as the disk lets it, that an attempt waits; nothing is raised, another error is under way.

    Where not even that line fits, an attempt without epochs leaves no lines at all: so it does not look as if the
    trial had killed its worker.

    Args:
        folder: The attempt's folder.
        seconds: How long it took.
        epochs: Whether it has recorded any.
    """
    with contextlib.suppress(OSError, StudyError):
        cut_torn_line(folder / EPOCHS)  # the next line would complete it to nonsense
        finish(folder, "paused", seconds, patient=False)  # who ended here has waited, and there may be many of them
        return
    if not epochs:
        with contextlib.suppress(OSError):
            (folder / EPOCHS).unlink(missing_ok=True)  # takes no room


def mend(trial: Path) -> None:
    """Cuts last lines that a crash tore; only who takes the trial over may do so."""
    for _, folder in attempts(trial):
        cut_torn_line(folder / EPOCHS)


def read_attempt(folder: Path, study: Path) -> Attempt:
    """Reads what an attempt left.

    Raises:
        StudyError: A line is damaged.
    """
    start, points, notes, end, seconds = 0.0, [], [], None, None
    where = folder.relative_to(study).as_posix()
    lines = read_lines(folder / EPOCHS)
    for number, line in enumerate(lines, start=1):
        try:
            if "at" in line:
                name = line["checkpoint"]
                points.append(
                    Point(
                        at=line["at"],
                        images=line["images"],
                        seconds=line["seconds"],
                        metrics=line["metrics"],
                        checkpoint=f"{where}/{name}" if name else None,
                    )
                )
            elif "note" in line:
                notes.append(line["note"])
            elif "end" in line:
                end, seconds = line["end"], line["seconds"]
            else:
                start = line["start"]
        except KeyError as error:
            raise StudyError(f"{folder / EPOCHS}:{number}: {error} is missing from the line") from error
    return Attempt(
        folder=folder,
        start=start,
        points=tuple(points),
        notes=tuple(notes),
        end=end,
        seconds=sum(p.seconds for p in points) if seconds is None else seconds,
        begun=bool(lines),
    )


def read_attempts(trial: Path, study: Path) -> list[Attempt]:
    """Everything that a trial's attempts left, in order."""
    return [read_attempt(folder, study) for _, folder in attempts(trial)]


def merge(parts: Sequence[Attempt]) -> tuple[Point, ...]:
    """One curve out of several attempts: each that began replaces what lies beyond the epoch that it started from."""
    curve: list[Point] = []
    for part in parts:
        if not part.begun:
            continue
        curve = [p for p in curve if p.at <= part.start + SLACK]
        curve.extend(part.points)
    return tuple(curve)


def without_lost_checkpoints(curve: Iterable[Point], study: Path) -> tuple[Point, ...]:
    """The curve, naming only checkpoints that are still there."""
    kept = []
    there: dict[str, set[str]] = {}
    for point in curve:
        if point.checkpoint is not None:
            folder, _, name = point.checkpoint.rpartition("/")
            if folder not in there:
                place = study / folder
                there[folder] = set(os.listdir(place)) if place.is_dir() else set()
            if f"{name.removesuffix('.safetensors')}.json" not in there[folder]:
                point = replace(point, checkpoint=None)
        kept.append(point)
    return tuple(kept)
