"""The search: trials, one after the other, until the study's totals are reached, by one worker or by several."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.engine.batch import share_all
from autotune.engine.clock import Clock, Pulse, reserve
from autotune.engine.concluding import repeated
from autotune.engine.context import Context, lease_of
from autotune.engine.lines import unwritable
from autotune.engine.lock import claim
from autotune.engine.outage import PATIENCE, patient
from autotune.engine.pacing import pace
from autotune.engine.processes import present
from autotune.engine.pruning import make_pruner
from autotune.engine.samplers import check_sampler
from autotune.engine.settling import settle
from autotune.engine.signals import GRACE, Signals
from autotune.engine.snapshot import is_done, read_study, snapshot
from autotune.engine.storage import SEARCH, open_journal
from autotune.engine.suggest import check_space
from autotune.engine.taking import is_at_work, take
from autotune.engine.turns import begin_journal
from autotune.engine.working import work
from autotune.errors import AutotuneError, BudgetError, Interrupted, PluginError, StudyError, UsageError
from autotune.study import Study
from autotune.trainer import Trainer

if TYPE_CHECKING:
    from autotune.model import Model
    from autotune.plan import Plan
    from autotune.plugins import Plugins

BEATS = 5
"""Beats within a lease, at least."""
IDLE, IDLE_LONGEST = 0.2, 1.0
"""Seconds between two looks for something to do, while others run what is left: at first, and at most."""
LEAVING = 0.5
"""Share of the time that is kept for the end, in which workers may finish after the deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What one process has while it is at work on a study.

    Attributes:
        plan: The study.
        clock: Its time; opened.
        signals: Whether somebody asked to stop.
        pulse: Beats, so that others see that this process is alive.
        worker: The mark of this call.
    """

    plan: Plan
    clock: Clock
    signals: Signals
    pulse: Pulse
    worker: str

    def interruption(self, text: str = "") -> Interrupted:
        """The error for a search that was asked to stop."""
        text = text or f"stopped by {self.signals.asked}; everything is saved"
        return self.signals.interruption(text, hint=f"go on with: autotune search {self.plan.path}")


@contextmanager
def at_work(plan: Plan, clock: Clock, *, grace: float = GRACE) -> Iterator[Call]:
    """Listens to signals, beats, and counts the study's time while its block runs.

    Args:
        plan: What to search.
        clock: The study's clock; it goes on afterwards if it is used again.
        grace: Seconds from SIGTERM or SIGUSR1 until this process is gone.

    Raises:
        Interrupted: A second signal came, and everything stopped at once.
        StudyError: The folder cannot be written.
    """
    clock.open()
    beat = min(1.0, lease_of(plan.config) / BEATS)
    with Signals(grace) as signals, Pulse(beat) as pulse, present() as worker:
        pulse.add(clock.beat)
        call = Call(plan=plan, clock=clock, signals=signals, pulse=pulse, worker=worker)
        with patient(PATIENCE, lambda: signals.asked is not None):
            try:
                yield call
            except BaseException as error:
                with contextlib.suppress(StudyError):  # what is under way says more, often of the same full disk
                    clock.close()
                if isinstance(error, KeyboardInterrupt) and signals.forced:
                    text = "stopped at once; running trials go on from their last epoch"
                    raise call.interruption(text) from None
                if isinstance(error, OSError):  # e.g. of the journal
                    raise unwritable(Path(str(error.filename or plan.path)), error) from error
                raise
            clock.close()


def run_search(plan: Plan, clock: Clock | None = None, *, grace: float = GRACE) -> Study:
    """Searches until the study's totals are reached, going on where an earlier call stopped.

    Other workers may join and leave meanwhile; this call returns when nothing is left to do for anybody.
    Ctrl-C stops after the batch, a second one at once; SIGTERM and SIGUSR1 stop within the grace time. The next call
    goes on from there.

    Args:
        plan: What to search; its folder is made, and its study.toml written.
        clock: The study's clock, where the caller started one before and needs it after.
        grace: Seconds from SIGTERM or SIGUSR1 until this process is gone.

    Returns:
        The study as it stands; a trial that the deadline cut waits in it.

    Raises:
        Interrupted: A signal came; everything is saved.
        StudyError: Another process searches in the folder, or the folder is damaged or cannot be written.
        BudgetError: The time ended before any epoch was done.
        UsageError: The sampler cannot do what is asked of it.
        RepeatedFailure: The same failure came five times in a row.
    """
    check(plan)
    plan.path.mkdir(parents=True, exist_ok=True)
    with claim(plan.path), at_work(plan, clock or Clock(plan.path, plan.config.time), grace=grace) as call:
        context, done = set_up(call)
        return context.study() if done else end(context, _loop(call, context))


def run_worker(call: Call) -> str:
    """Runs trials of a study that was set up, until nothing is left to do; says why.

    Raises:
        Interrupted: A signal came; everything is saved.
        StudyError: The folder is damaged or cannot be written.
        BudgetError: The time ended before any epoch was done.
        RepeatedFailure: The same failure came five times in a row.
    """
    trainer, called = _trainer(call.plan)
    context = _context(call, trainer, called)
    study = context.study()
    if is_done(call.plan.config, study.trials, call.clock.before, call.clock.ended):
        call.clock.rest()
        return "the study is done"
    reason = _loop(call, context)
    end(context, reason)
    return reason


def check(plan: Plan) -> None:
    """Checks that a study can be searched.

    Raises:
        UsageError: It has no end, or its sampler cannot do what is asked of it.
    """
    if plan.config.time is None and plan.config.trials is None:
        raise UsageError("a search needs an end", hint="say --time 15m, or --trials 30, or both")
    check_sampler(plan.config.sampler, plan.space, plan.objective)


def set_up(call: Call) -> tuple[Context, bool]:
    """Settles what is settled once in a study, and lets workers begin; the caller has claimed the folder.

    Returns:
        The search, and whether its totals were reached before this call.

    Raises:
        Interrupted: A signal came.
        StudyError: The folder is damaged or cannot be written.
    """
    plan, clock, signals = call.plan, call.clock, call.signals
    plan.write()
    _make_cache(plan.cache)
    trainer, called = _trainer(plan)
    if plan.epochs is None:
        plan = pace(plan, trainer, called, clock, signals)
        plan.write()
    context = _context(replace(call, plan=plan), trainer, called)
    study = context.study()
    check_space(plan.space, list(context.frozen(SEARCH)), plan.path)
    if is_done(plan.config, study.trials, clock.before, clock.ended):
        clock.rest()
        return context, True
    clock.reopen()
    plan.plugins.notify("autotune_study_started", study=study)
    settle(context)
    if signals.asked is not None:
        raise call.interruption()
    with context.lock.held():
        begin_journal(context)
        share_all(context)
    clock.begin()
    return context, False


def _make_cache(folder: Path) -> None:
    """Makes the cache folder; a search goes on without, and warns."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        warnings.warn(
            f"{folder}: the cache folder cannot be made ({error.strerror}); trials share nothing, and what has no room"
            " in memory is computed again and again. Name another folder: AUTOTUNE_CACHE_DIR",
            stacklevel=2,
        )


def end(context: Context, reason: str) -> Study:
    """Records that the search has ended, and why.

    Raises:
        BudgetError: The time ended before any epoch was done.
    """
    if _is_too_short(context):
        raise _too_short(context)
    context.clock.end(reason, trials=context.plan.config.trials)
    return context.study()


def obstacle(context: Context) -> AutotuneError | None:
    """Why no worker can go on with a study that is not done, as far as its trials tell."""
    if context.clock.left <= 0 and _is_too_short(context):
        return _too_short(context)
    return repeated(context)


def _is_too_short(context: Context) -> bool:
    """Whether the time ended, for all one knows, before any epoch was done."""
    return context.plan.config.time is not None and not any(t.curve or t.failure for t in context.study().trained)


def _context(call: Call, trainer: Trainer[Any], called: str) -> Context:
    plan = call.plan
    return Context(
        plan=plan,
        journal=open_journal(plan.path, plan.objective),
        clock=call.clock,
        pulse=call.pulse,
        signals=call.signals,
        trainer=trainer,
        called=called,
        pruner=make_pruner(plan.config.pruner),
        loader=model_loader(plan.plugins),
        plain=read_study(plan.path)[1],
        worker=call.worker,
    )


def _loop(call: Call, context: Context) -> str:
    """Runs trials until there is nothing more to do for anybody, and says why."""
    reason = _work_through(call, context)
    until = (
        time.monotonic() + min(LEAVING * reserve(context.clock.total), context.lease) if context.clock.total else 0.0
    )
    while time.monotonic() < until and call.signals.asked is None and is_at_work(context):
        time.sleep(IDLE)  # the same deadline stops the others, whose last epochs count too
    return reason


def _work_through(call: Call, context: Context) -> str:
    pause = IDLE
    while True:
        if call.signals.asked is not None:
            raise call.interruption()
        taken = take(context)
        if isinstance(taken, str):
            return taken
        if taken is None:
            time.sleep(pause)
            pause = min(1.5 * pause, IDLE_LONGEST)  # many who wait must not keep those from the lock who work
            continue
        pause = IDLE
        ending = work(context, taken)
        if ending is not None and ending.end == "paused" and call.signals.asked is None:
            return ending.reason or "the time is used up"


def model_loader(plugins: Plugins) -> Callable[[Path, str], Model]:
    """A function that loads the model in a folder such as ``best/`` to a device."""

    def load(folder: Path, device: str = "cpu") -> Model:
        from autotune.lookup import load_model_of, open_checkpoint

        spec, checkpoint = open_checkpoint(folder / "model.safetensors", plugins)
        return load_model_of(spec, checkpoint, device)

    return load


def read(folder: Path, plugins: Plugins) -> Study:
    """Reads a study's folder with a loader that asks these plugins."""
    return snapshot(folder, model_loader(plugins))


def _trainer(plan: Plan) -> tuple[Trainer[Any], str]:
    """The trainer, and what messages call it."""
    name = plan.trainer.name
    called = f"trainer {name!r}"
    for info in plan.plugins.listing():
        if name in info.offers.get("trainers", ()):
            origin = f" of {info.distribution} {info.version}" if info.distribution else ""
            called = f"trainer {name!r} (plugin {info.name}{origin})"
    try:
        trainer = plan.trainer.build()
    except AutotuneError:
        raise
    except Exception as error:
        raise PluginError(f"{called} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(trainer, Trainer):
        raise PluginError(f"{called}: build returned {type(trainer).__name__}, not an autotune.Trainer")
    return trainer, called


def _too_short(context: Context) -> BudgetError:
    clock = context.clock
    total = clock.total or 0.0
    into = f"the first trial had done {context.batches} batches of its first epoch"
    if not context.batches:
        into = "no trial had done its first epoch" if context.study().trained else "no trial had begun"
    enough = max(2 * total, 2 * clock.spent, 30.0)
    return BudgetError(
        f"{total:g} s are too short for one epoch: {clock.spent:.1f} s went by, and {into}",
        hint=f"ask for at least --time {enough:.0f}s, with a smaller img_size or a smaller backbone for less",
    )
