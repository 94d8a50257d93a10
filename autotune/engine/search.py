"""The search: trials, one after the other, until the study's totals are reached."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.engine.batch import gather, share_all, take_again
from autotune.engine.clock import Clock, Pulse
from autotune.engine.context import Context
from autotune.engine.continuing import continuation, nearly_over, too_late
from autotune.engine.lines import unwritable
from autotune.engine.lock import claim
from autotune.engine.outage import PATIENCE, patient
from autotune.engine.pacing import pace
from autotune.engine.pruning import make_pruner
from autotune.engine.samplers import check_sampler
from autotune.engine.settling import settle
from autotune.engine.signals import Signals
from autotune.engine.snapshot import is_done, read_study, snapshot
from autotune.engine.storage import SEARCH, open_journal
from autotune.engine.suggest import check_space
from autotune.engine.turns import ask, begin_journal, continue_beyond
from autotune.engine.working import work
from autotune.errors import AutotuneError, BudgetError, Interrupted, PluginError, StudyError, UsageError
from autotune.study import Study, Trial
from autotune.trainer import Trainer

if TYPE_CHECKING:
    from autotune.model import Model
    from autotune.plan import Plan
    from autotune.plugins import Plugins


def run_search(plan: Plan, clock: Clock | None = None) -> Study:
    """Searches until the study's totals are reached, going on where an earlier call stopped.

    Ctrl-C and SIGTERM stop after the batch, a second one at once; the next call goes on from there.

    Args:
        plan: What to search; its folder is made, and its study.toml written.
        clock: The study's clock, where the caller started one before and needs it after.

    Returns:
        The study as it stands; a trial that the deadline cut waits in it.

    Raises:
        Interrupted: A signal came; everything is saved.
        StudyError: Another process searches in the folder, or the folder is damaged or cannot be written.
        BudgetError: The time ended before any epoch was done.
        UsageError: The sampler cannot do what is asked of it.
        AutotuneError: The same failure came five times in a row.
    """
    if plan.config.time is None and plan.config.trials is None:
        raise UsageError("a search needs an end", hint="say --time 15m, or --trials 30, or both")
    check_sampler(plan.config.sampler, plan.space, plan.objective)
    plan.path.mkdir(parents=True, exist_ok=True)
    with claim(plan.path):
        clock = clock or Clock(plan.path, plan.config.time)
        clock.open()
        with Signals() as signals, Pulse() as pulse, patient(PATIENCE, lambda: signals.asked is not None):
            pulse.add(clock.save)
            try:
                study = _search(plan, clock, signals, pulse)
            except BaseException as error:
                with contextlib.suppress(StudyError):  # what is under way says more, often of the same full disk
                    clock.save()
                if isinstance(error, KeyboardInterrupt) and signals.forced:
                    raise _interrupted(plan, "stopped at once; running trials go on from their last epoch") from None
                if isinstance(error, OSError):  # e.g. of the journal
                    raise unwritable(Path(str(error.filename or plan.path)), error) from error
                raise
            clock.save()
            return study


def _search(plan: Plan, clock: Clock, signals: Signals, pulse: Pulse) -> Study:
    plan.write()
    plan.cache.mkdir(parents=True, exist_ok=True)
    trainer, called = _trainer(plan)
    if plan.epochs is None:
        plan = pace(plan, trainer, called, clock, signals)
        plan.write()
    journal = open_journal(plan.path, plan.objective)
    context = Context(
        plan=plan,
        journal=journal,
        clock=clock,
        pulse=pulse,
        signals=signals,
        trainer=trainer,
        called=called,
        pruner=make_pruner(plan.config.pruner),
        loader=model_loader(plan.plugins),
        plain=read_study(plan.path)[1],
    )
    study = context.study()
    check_space(plan.space, list(context.frozen(SEARCH)), plan.path)
    if is_done(plan.config, study.trials, clock.before, clock.ended):
        clock.rest()
        return context.study()
    clock.reopen()
    plan.plugins.notify("autotune_study_started", study=study)
    settle(context)
    if signals.asked is not None:
        raise _interrupted(plan, f"stopped by {signals.asked}; everything is saved")
    begin_journal(context)
    share_all(context)
    reason = _loop(context)
    study = context.study()
    if plan.config.time is not None and not any(trial.curve or trial.failure for trial in study.trained):
        raise _too_short(context)
    clock.end(reason, trials=plan.config.trials)
    return context.study()


def _loop(context: Context) -> str:
    """Runs trials until there is nothing more to do, and says why."""
    plan, clock, signals = context.plan, context.clock, context.signals
    while True:
        if signals.asked is not None:
            raise _interrupted(plan, f"stopped by {signals.asked}; everything is saved")
        if clock.left <= 0:
            return "the time is used up"
        if context.waiting():
            turns = take_again(context)
        elif plan.config.trials is not None and context.begun() >= plan.config.trials:
            return f"all {plan.config.trials} trials are done"
        else:
            late, longer = _near_end(context)
            if late and longer is None:
                return f"the {max(clock.left, 0):.0f} s left are too short for another trial"
            turns = [continue_beyond(context, *longer)] if longer else gather(context, ask(context))
        ending = work(context, turns)
        if ending.end == "paused" and signals.asked is None:
            return ending.reason or "the time is used up"


def _near_end(context: Context) -> tuple[bool, tuple[Trial, int] | None]:
    """Whether no new trial fits any more, and the leader with the epochs to train it to instead of one, or None."""
    if context.plan.config.time is None:
        return False, None
    study, left = context.study(), context.clock.left
    late = too_late(study, left)
    return late, continuation(study, left) if late or _may_end(context, study) else None


def _may_end(context: Context, study: Study) -> bool:
    """Whether training the leader longer comes next: no number of trials is asked for, the good recipes are done."""
    tried = context.plan.config.trials is None and context.begun() >= len(context.plan.portfolio)
    return tried and nearly_over(study, context.clock.left)


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


def _interrupted(plan: Plan, text: str) -> Interrupted:
    return Interrupted(text, hint=f"go on with: autotune search {plan.path}")


def _too_short(context: Context) -> BudgetError:
    clock = context.clock
    total = clock.total or 0.0
    into = f"the first trial had done {context.batches} batches of its first epoch"
    into = into if context.study().trained else "no trial had begun"
    enough = max(2 * total, 2 * clock.spent, 30.0)
    return BudgetError(
        f"{total:g} s are too short for one epoch: {clock.spent:.1f} s went by, and {into}",
        hint=f"ask for at least --time {enough:.0f}s, with a smaller img_size or a smaller backbone for less",
    )
