"""A crew: workers that a launcher starts for one call, which sets the study up, follows it and ends it."""

from __future__ import annotations

import itertools
import os
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune import engine
from autotune.errors import StudyError, UsageError
from autotune.launch.groups import EVERY, Group
from autotune.launcher import WorkerSpec
from autotune.study import Study

if TYPE_CHECKING:
    from autotune.plan import Plan

LOGS = "workers"
"""The folder, in the study's, with what workers print."""
PARENT = "AUTOTUNE_LAUNCHED_BY"
"""Tells a worker which process looks after it; when that is gone, the worker leaves."""
ON_GPU = "AUTOTUNE_ON_GPU"
"""Tells a worker that it was given a GPU, so that it does not train on the CPU where that is not there."""
OWN, KILLED = 0.5, 0.65
"""Shares of the grace time: in the first, workers save and end by themselves; after the second, they are killed. What
is left is for the best model: who launched them stops waiting at 0.7."""
BETWEEN = 2.0
"""Seconds for which a worker may have no attempt between two trials, and yet is at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """How many workers, and where.

    Attributes:
        workers: How many; with GPUs, that many in all.
        gpus: The GPUs, as CUDA_VISIBLE_DEVICES names them, that they take turns on; none leaves that to the study.
        grace: Seconds from a signal to stop until a worker is gone.
        launcher: What starts them.
    """

    workers: int
    gpus: tuple[str, ...] = ()
    grace: float = engine.GRACE
    launcher: str = "local"

    @classmethod
    def of(cls, workers: int | None, gpus: str | None, per_gpu: int | None, grace: float) -> Crew | None:
        """The crew that options ask for; None where they ask for no workers.

        Args:
            workers: How many workers.
            gpus: GPUs, with commas between.
            per_gpu: Workers on each GPU.
            grace: Seconds from a signal to stop until a worker is gone.

        Raises:
            UsageError: The options contradict each other.
        """
        names = tuple(name.strip() for name in (gpus or "").split(",") if name.strip())
        if per_gpu is not None and not names:
            raise UsageError(f"--per-gpu {per_gpu}: there are no GPUs named", hint="say --gpus 0,1 as well")
        if workers is None and gpus is None:
            return None
        if gpus is not None and not names:
            raise UsageError(f"--gpus {gpus!r}: names no GPU", hint="e.g. --gpus 0,1")
        if workers is not None and names:
            raise UsageError("--workers and --gpus both say how many workers", hint="say --gpus 0,1 --per-gpu 2")
        count = workers if workers is not None else len(names) * (per_gpu or 1)
        if count < 1:
            raise UsageError(f"{count} workers: there must be one at least", hint="e.g. --workers 4")
        return cls(workers=count, gpus=names, grace=grace)

    def check(self, plan: Plan) -> None:
        """Checks that a study can be searched by this crew; nothing is written.

        Raises:
            UsageError: The study's device is none of the GPUs that are shared out, or there are none here.
        """
        if not self.gpus:
            return
        asked, hint = f"--gpus {','.join(self.gpus)}", f"say --workers {self.workers}, or search where there are GPUs"
        if plan.config.device not in ("auto", "cuda"):
            raise UsageError(f"device = {plan.config.device} contradicts {asked}", hint="leave device out")
        if plan.trainer.device is None:
            raise UsageError(
                f"{asked}: trainer {plan.trainer.name!r} uses no GPU", hint=f"say --workers {self.workers}"
            )
        try:
            plan.trainer.device("cuda")
        except UsageError as error:
            raise UsageError(f"{asked}: {error.message}", hint=hint) from error


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
        StudyError: The workers have ended before the study was done, or the folder cannot be written.
        BudgetError: The time ended before any epoch was done.
        RepeatedFailure: The same failure came five times in a row.
    """
    engine.check(plan)
    with engine.at_work(plan, clock, grace=crew.grace) as call:
        context, done = engine.set_up(call)
        if done:
            return context.study()
        launcher = plan.plugins.launcher(crew.launcher).build()
        followers = [engine.Follower(context, observer) for observer in observers]
        died = engine.dead_attempts(context)
        for number in itertools.count(1):
            group = Group(launcher, _spec(context.plan, crew), crew.workers, f"{call.worker}-{number}")
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


def _spec(plan: Plan, crew: Crew) -> WorkerSpec:
    folder = plan.path.resolve()
    return WorkerSpec(
        argv=[sys.executable, "-m", "autotune", "worker", str(folder), "--grace", f"{OWN * crew.grace:g}s"],
        env={PARENT: str(os.getpid()), **({ON_GPU: "1"} if crew.gpus else {})},
        gpus=1.0 if crew.gpus else 0.0,
        grace=KILLED * crew.grace,
        max_restarts=engine.retries_of(plan.config),
        log_dir=folder / LOGS,
        native={"gpus": ",".join(crew.gpus)} if crew.gpus else {},
    )


def _is_done(context: engine.Context) -> bool:
    facts = engine.read_clock(context.plan.path)  # the workers say there why they ended
    return engine.is_done(context.plan.config, context.study().trials, facts["spent"], facts["ended"])
