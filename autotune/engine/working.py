"""Running a trial, or a batch of them: an attempt, its epochs, its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune import __version__
from autotune.checking import backbone_field
from autotune.engine import attempt
from autotune.engine.batch import share
from autotune.engine.checkpoints import best_saved, thin_attempt
from autotune.engine.concluding import conclude, count_failures, set_reason
from autotune.engine.context import Context
from autotune.engine.fit import Ending, attend
from autotune.engine.lines import settle
from autotune.engine.pruning import Stop
from autotune.engine.resuming import DEATHS, Way, deaths, way_on
from autotune.engine.run import AttemptRun
from autotune.engine.storage import MEMBERS
from autotune.engine.turns import Turn
from autotune.engine.watch import Watch
from autotune.errors import StudyError
from autotune.study import Failure, Point
from autotune.trainer import Epoch, Recipe

SETTLE = 15.0
"""Seconds of a batch that a power cut may cost; a crash of the process costs no finished epoch."""
_SLACK = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
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


def work(context: Context, turns: Sequence[Turn]) -> Ending:
    """Runs an attempt at a trial, or at all trials of a batch, and records how they ended.

    Returns:
        How the trial ended; of a batch, ``paused`` if one of its trials waits.

    Raises:
        AutotuneError: The same failure has come five times in a row.
        StudyError: The folder cannot be written any more.
    """
    endings: list[Ending] = []

    def ended(found: Sequence[tuple[Turn, Ending]]) -> None:
        conclude(context, found)
        endings.extend(ending for _, ending in found)

    starts, over = [], []
    for turn in turns:
        start = _start(context, turn)
        if isinstance(start, Ending):
            over.append((turn, start))
        else:
            starts.append(start)
    starts = _abreast(starts)
    already = _already(context, starts)
    over += [(start.turn, already[start.turn.plan.trial]) for start in starts if start.turn.plan.trial in already]
    if over:
        ended(over)
    if starts := [start for start in starts if start.turn.plan.trial not in already]:
        _Attempt(context, starts, ended).run()
    if (batch := turns[0].plan.batch) is not None:
        share(context, batch)
    count_failures(context, endings)
    return next((ending for ending in endings if ending.end == "paused"), endings[0])


def _start(context: Context, turn: Turn) -> _Start | Ending:
    """Where a trial goes on, or how it ended before it could."""
    path = context.plan.path
    home = attempt.trial_folder(path, turn.plan.trial)
    attempt.mend(home)
    past = attempt.read_attempts(home, path)
    if turn.recipe is None:
        return Ending(end="failed", failure=turn.refused)
    if deaths(past) >= DEATHS:
        reason = f"{DEATHS} attempts in a row died without a new epoch"
        return Ending(end="failed", failure=Failure(kind="lost", reason=reason))
    parent = None if turn.plan.parent is None else attempt.trial_folder(path, turn.plan.parent)
    way = way_on(home, past, parent=parent)
    if way.curve and way.start >= turn.plan.epochs - _SLACK:
        return Ending(end="complete")  # its worker died after the last epoch, before the end was recorded
    return _Start(turn=turn, recipe=turn.recipe, home=home, past=past, way=way)


def _abreast(starts: Sequence[_Start]) -> list[_Start]:
    """Lets the trials of a batch start at the same epoch, that of the one that is farthest behind.

    A crash while an epoch is recorded leaves some of them an epoch ahead, a power cut some more. Where going back
    would cost much, or there is no checkpoint of that epoch, those ahead wait; they are taken when these have ended.
    """
    lowest = min((start.way.start for start in starts), default=0.0)
    ahead = [start for start in starts if start.way.start > lowest + _SLACK]
    lost = sum(p.seconds for start in ahead for p in start.way.curve if p.at > lowest + _SLACK)
    found = []
    for start in starts:
        way = start.way
        if way.start > lowest + _SLACK:
            if way.start > lowest + 1 + _SLACK and lost > 2 * SETTLE:
                continue
            way = way_on(start.home, start.past, most=lowest)
        if way.start >= lowest - _SLACK:
            found.append(replace(start, way=way))
    return found


def _already(context: Context, starts: Sequence[_Start]) -> dict[int, Ending]:
    """Trials that a worker would have pruned, had it not died before."""
    if not any(start.way.curve for start in starts):
        return {}
    study = context.study()
    trials = [replace(study.trial(start.turn.plan.trial), curve=start.way.curve) for start in starts]
    stops = context.pruner.decide_many([trial for trial in trials if trial.curve], study)
    return {number: Ending(end="pruned", reason=stop.reason) for number, stop in stops.items()}


class _Attempt:
    """One attempt at the trials that start together.

    Args:
        context: The search.
        starts: The trials.
        ended: Told how trials ended, as soon as they have.
    """

    def __init__(
        self, context: Context, starts: Sequence[_Start], ended: Callable[[Sequence[tuple[Turn, Ending]]], None]
    ) -> None:
        self.context = context
        self.starts = starts
        self.turns = [start.turn for start in starts]
        self.ended = ended
        self.batched = self.turns[0].plan.batch is not None
        first = starts[0]
        field = backbone_field(context.plan.trainer.recipe)
        self.tail = (None if field is None else getattr(first.recipe, field), self.batched)
        self.watch = Watch(context.clock.search_deadline, context.signals, tail=context.tails.get(self.tail, 0.0))
        self.open: dict[int, AttemptRun] = {}
        self.recorded: set[int] = set()
        self.settled = time.monotonic()

    def run(self) -> None:
        """Runs it to its end."""
        context, plan = self.context, self.context.plan
        try:
            runs = self._begin()
            context.notify("autotune_trial_started", [turn.plan.trial for turn in self.turns])
            context.pulse.add(self._beat)
            attend(
                context.trainer,
                [start.recipe for start in self.starts],
                plan.dataset.data,
                runs,
                objective=plan.objective,
                called=context.called,
                scored=[i for i, start in enumerate(self.starts) if any(p.metrics for p in start.way.curve)],
                arrived=self._arrived,
                ended=self._ended,
            )
        except (KeyboardInterrupt, StudyError, OSError):
            for place, run in self.open.items():  # a person's wish, or a full disk: no deaths of the trials
                attempt.pause(run.folder, run.elapsed, epochs=place in self.recorded)
            raise
        finally:
            context.pulse.remove(self._beat)
            context.batches += self.watch.batches
            context.tails[self.tail] = self.watch.tail

    def _begin(self) -> list[AttemptRun]:
        """Opens an attempt for each trial."""
        for place, start in enumerate(self.starts):
            folder = attempt.claim_attempt(start.home)
            run = _run(self.context, start, folder, self.watch, batched=self.batched)
            attempt.begin(folder, start=start.way.start, durable=not self.batched)
            self.open[place] = run
            set_reason(start.turn, None)
            run.beat()
            for problem in start.way.problems:
                run.note(problem)
        return list(self.open.values())

    def _beat(self) -> None:
        for run in list(self.open.values()):
            run.beat()

    def _settle(self) -> None:
        """Has the disk keep what the runs of a batch have written, but not every time: they are many."""
        if self.batched and time.monotonic() - self.settled >= SETTLE:
            for run in self.open.values():
                run.settle()
            self.settled = time.monotonic()

    def _ended(self, endings: Mapping[int, Ending]) -> None:
        runs = {place: self.open[place] for place in endings}
        for place, run in runs.items():
            attempt.finish(run.folder, endings[place].end, run.elapsed)
            del self.open[place]
        self.ended([(self.turns[place], ending) for place, ending in endings.items()])
        if self.batched:
            for run in runs.values():
                settle(path for path in run.folder.glob("checkpoint-*"))  # few are left of those that have ended

    def _arrived(self, points: Mapping[int, tuple[Epoch, Point]]) -> Mapping[int, Stop]:
        """Records epochs and asks the pruner."""
        context = self.context
        for place, (_, point) in points.items():
            attempt.add_point(self.open[place].folder, point, durable=not self.batched)
            self.recorded.add(place)
        self._settle()
        context.clock.save()
        objective = context.plan.objective
        for place, (_, point) in points.items():
            turn = self.turns[place]
            if turn.stage != MEMBERS and point.metrics and len(objective.goals) == 1 and point.at == int(point.at):
                _show(context, turn, int(point.at), objective.values(point.metrics)[0])
        numbers = {self.turns[place].plan.trial: place for place in points}
        epochs = {number: points[place][0] for number, place in numbers.items()}
        study = context.notify("autotune_epoch_finished", list(numbers), epochs)
        trials = [trial for trial in study.trials if trial.number in numbers]
        for trial in trials:
            run, best = self.open[numbers[trial.number]], best_saved(trial.curve, objective)
            keep = {Path(best.checkpoint).name} if best and best.checkpoint else set()
            thin_attempt(run.folder, keep=keep | run.settled)
        scored = [trial for trial in trials if points[numbers[trial.number]][1].metrics]
        return {numbers[number]: stop for number, stop in context.pruner.decide_many(scored, study).items()}


def _run(context: Context, start: _Start, folder: Path, watch: Watch, *, batched: bool) -> AttemptRun:
    plan, turn = context.plan, start.turn
    try:
        backbone = plan.backbone_of(start.recipe)
    except KeyError as error:
        raise StudyError(
            f"{plan.path}: trial {turn.plan.trial} needs the backbone {error}, which the study no longer has",
            hint="add it to backbones in study.toml",
        ) from error
    field = backbone_field(plan.trainer.recipe)
    name = None if field is None else getattr(start.recipe, field)
    resumed = start.way.checkpoint
    if resumed is not None:
        resumed = type(resumed)(path=resumed.path, facts=resumed.facts, backbone=backbone)
    tasks = plan.dataset.data.tasks
    classes = {t.name: list(t.classes) for t in tasks} if len(tasks) > 1 else list(tasks[0].classes)
    return AttemptRun(
        trial=turn.plan.trial,
        seed=turn.plan.seed,
        device=plan.device,
        epochs=turn.plan.epochs,
        deadline=context.clock.search_deadline,
        cache=plan.cache,
        cache_limit=plan.config.cache_size,
        backbone=backbone,
        augmentations=plan.plugins.augmentations,
        folder=folder,
        added={
            "autotune": __version__,
            "trainer": plan.trainer.name,
            "trial": turn.plan.trial,
            "backbone": name,
            "weights": turn.plan.weights,
            "classes": classes,
            "recipe": start.recipe.model_dump(mode="json"),
        },
        watch=watch,
        batched=batched,
        resume=resumed,
    )


def _show(context: Context, turn: Turn, step: int, value: float) -> None:
    """Keeps a score in the journal: TPE ranks pruned trials by these. Optuna's own pruners are never asked."""
    if step not in context.frozen(turn.stage)[turn.optuna.number].intermediate_values:
        turn.optuna.report(value, step)
