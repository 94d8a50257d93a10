"""Taking trials: decided, and claimed, under the study's lock, so that no two workers run the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from autotune.engine import attempt
from autotune.engine.batch import gather, take_again
from autotune.engine.concluding import conclude, set_reason
from autotune.engine.context import NUMBER, Context, retries_of
from autotune.engine.continuing import continuation, nearly_over, too_late
from autotune.engine.fit import Ending
from autotune.engine.resuming import Looks, UnseenError, Way, deaths, way_on
from autotune.engine.study_lock import BrokenHoldError
from autotune.engine.turns import Turn, ask, continue_beyond
from autotune.errors import StudyError
from autotune.study import SLACK, Failure, Study, Trial
from autotune.trainer import Recipe

SETTLE = 15.0
"""Seconds of training that a power cut may cost; the death of a process costs no finished epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A trial that can be trained, and where it starts.

    Attributes:
        turn: The trial.
        recipe: Its recipe.
        home: Its folder.
        past: What its attempts left.
        way: Where it goes on.
    """

    turn: Turn
    recipe: Recipe
    home: Path
    past: Sequence[attempt.Attempt]
    way: Way


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A trial, or what is left of a batch, that this worker has claimed.

    Attributes:
        starts: What is to be trained, together.
        folders: The attempt of each of them.
        over: What had ended before it could begin.
        batch: The trial that leads the batch, or None.
    """

    starts: Sequence[Start]
    folders: Sequence[Path]
    over: Sequence[tuple[Turn, Ending]]
    batch: int | None


def claim(context: Context, turns: Sequence[Turn], looks: Looks) -> Work:
    """Claims an attempt at a trial, or at all trials of a batch; the caller holds the study's lock.

    Raises:
        StudyError: The folder cannot be written any more.
        UnseenError: Checkpoints have to be looked at first; nothing was claimed.
    """
    starts, over = [], []
    for turn in turns:
        start = _start(context, turn, looks)
        if isinstance(start, Ending):
            over.append((turn, start))
        else:
            starts.append(start)
    starts = _abreast(starts, looks)
    looks.check()
    already = _already(context, starts)
    over += [(start.turn, already[start.turn.plan.trial]) for start in starts if start.turn.plan.trial in already]
    context.lock.check()
    conclude(context, over)
    starts = [start for start in starts if start.turn.plan.trial not in already]
    folders: list[Path] = []
    try:
        for start in starts:
            context.lock.check()
            folders.append(attempt.claim_attempt(start.home))
            lease = folders[0].relative_to(context.plan.path).as_posix()
            whose = attempt.Claim(worker=context.worker, lease=lease)
            attempt.begin(folders[-1], start=start.way.start, claim=whose, durable=False)
            set_reason(start.turn, None)
    except (KeyboardInterrupt, BrokenHoldError, StudyError, OSError):
        for folder in folders:
            attempt.pause(folder, 0.0, epochs=False)
        raise
    return Work(starts=starts, folders=folders, over=over, batch=turns[0].plan.batch)


def take(context: Context) -> Work | str | None:
    """Takes the next trial, or batch: one that waits or whose worker has died, else a new one.

    Returns:
        What this worker has claimed; or why there is nothing more to do; or None while nothing is left but what
        other workers run, one of which may die yet.

    Raises:
        StudyError: The folder cannot be written any more.
    """
    looks = Looks()
    while True:
        try:
            with context.lock.held():
                try:
                    return _take(context, looks)
                except UpdateFinishedTrialError:
                    context.lock.check()  # who broke the hold has ended the trial that was being asked for
                    raise
        except BrokenHoldError:
            continue
        except UnseenError:
            looks.look()


def _take(context: Context, looks: Looks) -> Work | str | None:
    context.refresh()
    clock, wanted = context.clock, context.plan.config.trials
    if clock.left <= 0:
        return "the time is used up"
    held = False
    for stage, frozen in _groups(context):
        if not _is_held(context, stage, frozen):
            return claim(context, take_again(context, stage, frozen), looks)
        held = True
    if wanted is not None and context.begun() >= wanted:
        return None if held else f"all {wanted} trials are done"
    late, longer = _near_end(context)
    if late and longer is None:
        return None if held else f"the {max(clock.left, 0):.0f} s left are too short for another trial"
    if longer is None:
        return claim(context, gather(context, ask(context)), looks)
    home = attempt.trial_folder(context.plan.path, longer[0].number)
    way_on(home, attempt.read_attempts(home, context.plan.path), looks)
    looks.check()  # before there is a trial that the time may not suffice for
    return claim(context, [continue_beyond(context, *longer)], looks)


def is_at_work(context: Context) -> bool:
    """Whether other workers run trials, as far as one can see."""
    with context.lock.held():
        return any(_is_held(context, stage, frozen) for stage, frozen in _groups(context))


def dead_attempts(context: Context) -> frozenset[Path]:
    """The attempts that have begun and not ended, at trials that go on.

    They are dead where nobody is at work; else those of living workers are among them. What a later call finds beyond
    an earlier one has begun in between.
    """
    numbers = [frozen.user_attrs[NUMBER] for _, frozen in context.waiting() if NUMBER in frozen.user_attrs]
    found = [attempt.open_attempt(attempt.trial_folder(context.plan.path, number)) for number in numbers]
    return frozenset(folder for folder in found if folder is not None and attempt.read_claim(folder) is not None)


def _groups(context: Context) -> Iterator[tuple[str, FrozenTrial]]:
    """The first trial of everything that has begun and not ended: trials by themselves, and batches."""
    seen = set()
    for stage, frozen in context.waiting():
        batch = frozen.user_attrs.get("batch", frozen.user_attrs.get(NUMBER))
        if batch is None or batch not in seen:
            seen.add(batch)
            yield stage, frozen


def _is_held(context: Context, stage: str, frozen: FrozenTrial) -> bool:
    """Whether somebody may be running a trial, or a trial of its batch.

    Who takes a trial claims an attempt before the lock is free again. So one without a number, or without an attempt,
    is what a death has left.
    """
    own = frozen.user_attrs.get(NUMBER)
    if own is None:
        return False
    lead = frozen.user_attrs.get("batch", own)
    numbers = [own, *(t.user_attrs[NUMBER] for _, t in context.waiting() if t.user_attrs.get("batch") == lead)]
    for number in dict.fromkeys(numbers):
        folder = attempt.open_attempt(attempt.trial_folder(context.plan.path, number))
        if folder is not None and context.watcher.alive(folder, context.lease):
            return True
    return False


def _near_end(context: Context) -> tuple[bool, tuple[Trial, int] | None]:
    """Whether no new trial fits any more, and the leader with the epochs to train it to instead of one, or None."""
    if context.plan.config.time is None:
        return False, None
    study, left = context.study(), context.clock.left
    late = too_late(study, left)
    longer = continuation(study, left) if late or _may_end(context, study) else None
    if longer is not None:
        last = longer[0].curve[-1].checkpoint
        if last is None or not (context.plan.path / last).is_file():  # thinned out by another worker
            context.records.forget([longer[0].number])
            longer = continuation(context.study(), left)
    return late, longer


def _may_end(context: Context, study: Study) -> bool:
    """Whether training the leader longer comes next: no number of trials is asked for, the good recipes are done."""
    tried = context.plan.config.trials is None and context.begun() >= len(context.plan.portfolio)
    return tried and nearly_over(study, context.clock.left)


def _start(context: Context, turn: Turn, looks: Looks) -> Start | Ending:
    """Where a trial goes on, or how it ended before it could."""
    path = context.plan.path
    home = attempt.trial_folder(path, turn.plan.trial)
    attempt.mend(home)
    past = attempt.read_attempts(home, path)
    if turn.recipe is None:
        return Ending(end="failed", failure=turn.refused)
    if (count := deaths(past)) > retries_of(context.plan.config):
        reason = f"{count} attempts in a row died without a new epoch"
        return Ending(end="failed", failure=Failure(kind="lost", reason=reason))
    parent = None if turn.plan.parent is None else attempt.trial_folder(path, turn.plan.parent)
    way = way_on(home, past, looks, parent=parent)
    if way.curve and way.start >= turn.plan.epochs - SLACK:
        return Ending(end="complete")  # its worker died after the last epoch, before the end was recorded
    return Start(turn=turn, recipe=turn.recipe, home=home, past=past, way=way)


def _abreast(starts: Sequence[Start], looks: Looks) -> list[Start]:
    """Lets the trials of a batch start at the same epoch, that of the one that is farthest behind.

    A crash while an epoch is recorded leaves some of them an epoch ahead, a power cut some more. Where going back
    would cost much, or there is no checkpoint of that epoch, those ahead wait; they are taken when these have ended.
    """
    lowest = min((start.way.start for start in starts), default=0.0)
    ahead = [start for start in starts if start.way.start > lowest + SLACK]
    lost = sum(p.seconds for start in ahead for p in start.way.curve if p.at > lowest + SLACK)
    found = []
    for start in starts:
        way = start.way
        if way.start > lowest + SLACK:
            if way.start > lowest + 1 + SLACK and lost > 2 * SETTLE:
                continue
            way = way_on(start.home, start.past, looks, most=lowest)
        if way.start >= lowest - SLACK:
            found.append(replace(start, way=way))
    return found


def _already(context: Context, starts: Sequence[Start]) -> dict[int, Ending]:
    """Trials that a worker would have pruned, had it not died before."""
    if not any(start.way.curve for start in starts):
        return {}
    study = context.study()
    trials = [replace(study.trial(start.turn.plan.trial), curve=start.way.curve) for start in starts]
    stops = context.pruner.decide_many([trial for trial in trials if trial.curve], study)
    return {number: Ending(end="pruned", reason=stop.reason) for number, stop in stops.items()}
