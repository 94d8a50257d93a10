"""Running what was taken: an attempt at a trial, or at a batch, its epochs, its end."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from autotune import __version__
from autotune.checking import backbone_field
from autotune.checkpoint import read_checkpoint
from autotune.engine import attempt, taking
from autotune.engine.batch import share
from autotune.engine.checkpoints import KEEP_TRIALS, best_saved, epochs_of, saved, thin_attempt
from autotune.engine.concluding import announce, check_failures, conclude
from autotune.engine.context import Context
from autotune.engine.fit import Ending, attend
from autotune.engine.leases import Counter
from autotune.engine.pruning import Stop
from autotune.engine.run import AttemptRun
from autotune.engine.storage import MEMBERS
from autotune.engine.study_lock import BrokenHoldError
from autotune.engine.taking import Start, Work
from autotune.engine.turns import Turn
from autotune.engine.watch import Watch
from autotune.errors import CheckpointError, StudyError
from autotune.study import SLACK, Point
from autotune.trainer import Epoch


def work(context: Context, taken: Work) -> Ending | None:
    """Runs what was claimed, and records how it ended.

    Returns:
        How the trial ended; of a batch, ``paused`` if one of its trials waits; None if others have taken it over.

    Raises:
        RepeatedFailure: The same failure has come five times in a row.
        StudyError: The folder cannot be written any more.
    """
    endings = [ending for _, ending in taken.over]
    if taken.over:
        announce(context, taken.over)
    lost = False
    if taken.starts:
        attempt_ = _Attempt(context, taken)
        endings += attempt_.run()
        lost = attempt_.lost
    if taken.batch is not None:
        share(context, taken.batch)
    check_failures(context, endings)
    if lost:
        return None
    return next((ending for ending in endings if ending.end == "paused"), endings[0] if endings else None)


class _Attempt:
    """One attempt at the trials that start together.

    Args:
        context: The search.
        work: The trials, and the folders that were claimed for them.
    """

    def __init__(self, context: Context, work: Work) -> None:
        self.context = context
        self.starts = work.starts
        self.folders = work.folders
        self.turns = [start.turn for start in work.starts]
        self.batched = work.batch is not None
        first = work.starts[0]
        field = backbone_field(context.plan.trainer.recipe)
        self.tail = (None if field is None else getattr(first.recipe, field), self.batched)
        self.watch = Watch(context.clock.search_deadline, context.signals, tail=context.tails.get(self.tail, 0.0))
        self.open: dict[int, AttemptRun] = {}
        self.recorded: set[int] = set()
        self.settled = time.monotonic()
        self.endings: list[Ending] = []
        self.dropped: list[int] = []
        self.lost = False
        self.counter = Counter(work.folders[0])

    def run(self) -> list[Ending]:
        """Runs it to its end; returns how the trials ended, those left out that others have taken over."""
        context, plan = self.context, self.context.plan
        try:
            runs = self._begin()
            context.pulse.add(self._beat)
            context.notify("autotune_trial_started", [turn.plan.trial for turn in self.turns])
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
        if self.dropped:
            told = ", ".join(map(str, self.dropped))
            many = len(self.dropped) > 1
            warnings.warn(
                f"{'trials' if many else 'trial'} {told}: taken over by another worker while this one stood still; "
                f"what this one made of {'them' if many else 'it'} is dropped",
                stacklevel=2,
            )
        return self.endings

    def _begin(self) -> list[AttemptRun]:
        """Opens the attempts; the first one's counter says for all of them that their worker is alive."""
        for place, start in enumerate(self.starts):
            self.open[place] = _run(self.context, start, self.folders[place], self.watch, batched=self.batched)
        self.counter.beat()
        for place, run in self.open.items():
            for problem in self.starts[place].way.problems:
                run.note(problem)
        return list(self.open.values())

    def _beat(self) -> None:
        self.counter.beat()
        if any(attempt.is_taken_over(run.folder) for run in list(self.open.values())):
            self._lose()

    def _lose(self) -> None:
        """Lets the trainer stop: others have taken over what it does."""
        self.lost = True
        self.watch.asked = self.watch.asked or "pause"

    def _is_mine(self, place: int) -> bool:
        """Whether nobody else has taken a trial over, or told how it ended, since this attempt at it began."""
        turn = self.turns[place]
        state = self.context.frozen(turn.stage)[turn.optuna.number].state
        return state == TrialState.RUNNING and not attempt.is_taken_over(self.folders[place])

    def _settle(self) -> None:
        """Has the disk keep what was written, but not every time: epochs may be short, and the runs of a batch many."""
        if time.monotonic() - self.settled >= taking.SETTLE:
            for run in self.open.values():
                run.settle()
            self.settled = time.monotonic()

    def _ended(self, endings: Mapping[int, Ending]) -> None:
        runs = {place: self.open[place] for place in endings}
        self._keep(endings)
        told = self._told(endings)
        for place, run in runs.items():
            del self.open[place]
            if place not in told:
                self.lost = True
                self.dropped.append(self.turns[place].plan.trial)
                _clear(run.folder, self.context.plan.path)
        self.endings += told.values()
        if told:
            announce(self.context, [(self.turns[place], ending) for place, ending in told.items()])

    def _keep(self, endings: Mapping[int, Ending]) -> None:
        """Has the disk keep what ends, before it is told: of a batch only the best few will be left."""
        records = {
            place: self.context.record(self.turns[place].stage, self.turns[place].optuna.number) for place in endings
        }
        ranked = self.context.plan.objective.ranked((p, r.metrics) for p, r in records.items() if r.metrics)
        waiting = [place for place, ending in endings.items() if ending.end == "paused"]
        for place in dict.fromkeys([*ranked[:KEEP_TRIALS], *waiting]):
            self.open[place].settle(all_of_them=True)

    def _told(self, endings: Mapping[int, Ending]) -> Mapping[int, Ending]:
        """Records how those of the runs ended that are still this worker's, and returns them."""
        context = self.context
        while True:
            try:
                with context.lock.held():
                    mine = {place: ending for place, ending in endings.items() if self._is_mine(place)}
                    context.lock.check()
                    for place, ending in mine.items():
                        attempt.finish(self.folders[place], ending.end, self.open[place].elapsed)
                    conclude(context, [(self.turns[place], ending) for place, ending in mine.items()])
                    return mine
            except BrokenHoldError:
                continue

    def _arrived(self, points: Mapping[int, tuple[Epoch, Point]]) -> Mapping[int, Stop]:
        """Records epochs and asks the pruner."""
        context = self.context
        if not all(self._is_mine(place) for place in points):
            self._lose()
            return {}
        for place, (_, point) in points.items():
            attempt.add_point(self.open[place].folder, point, durable=False)
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
        scored = [trial for trial in trials if self._goes_on(numbers[trial.number], points)]
        return {numbers[number]: stop for number, stop in context.pruner.decide_many(scored, study).items()}

    def _goes_on(self, place: int, points: Mapping[int, tuple[Epoch, Point]]) -> bool:
        """Whether a trial that has a score may be stopped: after its last epoch it is complete."""
        point = points[place][1]
        return bool(point.metrics) and point.at < self.open[place].epochs - SLACK


def _clear(folder: Path, study: Path) -> None:
    """Removes the checkpoints of an attempt that was taken over, but for those from before the one that took over."""
    number = int(folder.name.rpartition("-")[2])
    later = attempt.read_attempt(folder.with_name(f"attempt-{number + 1}"), study)
    for path in saved(folder):
        with contextlib.suppress(CheckpointError):  # a damaged one is nobody's loss
            if later.begun and epochs_of(read_checkpoint(path)) > later.start + SLACK:
                path.with_suffix(".json").unlink(missing_ok=True)
                path.unlink(missing_ok=True)


def _run(context: Context, start: Start, folder: Path, watch: Watch, *, batched: bool) -> AttemptRun:
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
        with contextlib.suppress(UpdateFinishedTrialError):  # told by another worker just now; the end will show it
            turn.optuna.report(value, step)
