"""Leading a crew: its workers are started for one call, which sets the study up, follows it and ends it."""

from __future__ import annotations

import itertools
import os
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from autotune import engine
from autotune.errors import AutotuneError, PluginError, StudyError
from autotune.launch.crew import Crew
from autotune.launch.groups import EVERY, Group
from autotune.launcher import Launcher, WorkerSpec
from autotune.study import Study

if TYPE_CHECKING:
    from autotune.plan import Plan

LOGS = "workers"
"""The folder, in the study's, with what workers print."""
LAUNCHED_BY = "AUTOTUNE_LAUNCHED_BY"
"""Tells a worker the mark of the call that looks after it; where that is seen to be dead, the worker leaves."""
ON_GPU = "AUTOTUNE_ON_GPU"
"""Tells a worker that it was given a GPU, so that it does not train on the CPU where that is not there."""
PASSED_ON = ("XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""What is read besides ``AUTOTUNE_*`` and passed on to workers: where caches lie, and whether nothing is downloaded."""
OWN, KILLED = 0.5, 0.65
"""Shares of the grace time: in the first, workers save and end by themselves; after the second, they are killed. What
is left is for the best model: who launched them stops waiting at 0.7."""
BETWEEN = 2.0
"""Seconds for which a worker may have no attempt between two trials, and yet is at work."""


def run_crew(plan: Plan, crew: Crew, clock: engine.Clock, *, observers: Iterable[object] = ()) -> Study:
    """Searches with several workers until the study's totals are reached; the caller has claimed the folder.

    Where all workers are given up and have died in trials, new ones are started. A trial bears a number of deaths
    without a new epoch, and has failed after it, so this comes to an end.

    Args:
        plan: What to search.
        crew: Who searches.
        clock: The study's clock.
        observers: Told of what the workers do, as read from the study's folder.

    Raises:
        Interrupted: A signal came; everything is saved.
        PluginError: The launcher cannot be built, or has failed.
        StudyError: The workers have ended before the study was done, or the folder cannot be written.
        BudgetError: The time ended before any epoch was done.
        RepeatedFailure: The same failure came five times in a row.
    """
    engine.check(plan)
    launcher = _launcher(plan, crew)
    with engine.at_work(plan, clock, grace=crew.grace) as call:
        context, done = engine.set_up(call)
        if done:
            return context.study()
        followers = [engine.Follower(context, observer) for observer in observers]
        died = engine.dead_attempts(context)
        for number in itertools.count(1):
            spec, key = _spec(context.plan, crew, call), f"{call.worker}-{number}"
            group = Group(launcher, spec, crew.workers, key, _called(crew))
            _follow_group(call, context, group, followers)
            if _follow_others(call, context, followers):
                break
            before, died = died, engine.dead_attempts(context)
            if (error := engine.obstacle(context)) is not None:
                raise error
            if died <= before:
                raise StudyError(
                    f"{plan.path}: all {crew.workers} workers have ended before the study was done{group.last_error()}",
                    hint=f"see {plan.path / LOGS}/worker-*.log; the same command goes on",
                )
            trials = ", ".join(map(str, sorted({int(folder.parent.name) for folder in died - before})))
            warnings.warn(
                f"all {crew.workers} workers are given up, which died in trials {trials}; new ones go on", stacklevel=2
            )
        ended = engine.read_clock(plan.path)["ended"] or {}
        return engine.end(context, str(ended.get("reason", "all trials are done")))


def _follow_group(
    call: engine.Call, context: engine.Context, group: Group, followers: Sequence[engine.Follower]
) -> None:
    """Follows workers until all have ended or are given up.

    Raises:
        Interrupted: A signal came; everything is saved.
    """
    try:
        since: float | None = None
        while not group.is_over():
            group.look()
            for follower in followers:
                follower.look()
            if call.signals.asked is not None:
                break
            if engine.read_clock(context.plan.path)["ended"] is not None:
                since = time.monotonic() if since is None else since
                if time.monotonic() - since > OWN * call.signals.grace:
                    break  # who is still here stands still
            time.sleep(EVERY)
    finally:
        group.dismiss()
        for follower in followers:
            follower.look()
    if call.signals.asked is not None:
        raise call.interruption()


def _follow_others(call: engine.Call, context: engine.Context, followers: Sequence[engine.Follower]) -> bool:
    """Follows those who joined by hand until nobody is at work; says whether the study is done.

    Raises:
        Interrupted: A signal came; everything is saved.
    """
    alone = time.monotonic()
    while not (done := _is_done(context)):
        if call.signals.asked is not None:
            raise call.interruption()
        if engine.is_at_work(context):
            alone = time.monotonic()
        elif time.monotonic() - alone > BETWEEN:
            break
        for follower in followers:
            follower.look()
        time.sleep(EVERY)
    return done


def _launcher(plan: Plan, crew: Crew) -> Launcher:
    """Builds what starts the workers.

    Raises:
        PluginError: Its plugin cannot, or builds something else.
    """
    called = _called(crew)
    try:
        launcher = plan.plugins.launcher(crew.launcher).build()
    except AutotuneError:
        raise
    except Exception as error:
        raise PluginError(f"{called} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(launcher, Launcher):
        raise PluginError(f"{called}: build returned {type(launcher).__name__}, not an autotune.Launcher")
    return launcher


def _called(crew: Crew) -> str:
    return f"launcher {crew.launcher!r}"


def _spec(plan: Plan, crew: Crew, call: engine.Call) -> WorkerSpec:
    folder = plan.path.resolve()
    env = {name: value for name, value in os.environ.items() if name.startswith("AUTOTUNE_") or name in PASSED_ON}
    return WorkerSpec(
        argv=[sys.executable, "-m", "autotune", "worker", str(folder), "--grace", f"{OWN * crew.grace:g}s"],
        env={**env, LAUNCHED_BY: call.worker, **({ON_GPU: "1"} if crew.gpus else {})},
        gpus=1.0 if crew.gpus else 0.0,
        grace=KILLED * crew.grace,
        max_restarts=engine.retries_of(plan.config),
        log_dir=folder / LOGS,
        native={"gpus": ",".join(crew.gpus)} if crew.gpus else {},
    )


def _is_done(context: engine.Context) -> bool:
    facts = engine.read_clock(context.plan.path)  # the workers say there why they ended
    return engine.is_done(context.plan.config, context.study().trials, facts["spent"], facts["ended"])
