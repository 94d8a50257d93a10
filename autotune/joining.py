"""A worker: joins the search of a study that lies in a folder, and may leave at any time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from autotune import engine
from autotune.engine.processes import is_dead
from autotune.errors import StudyError, UsageError
from autotune.launch.leading import LAUNCHED_BY, ON_GPU
from autotune.plan import Plan, reopen
from autotune.plugins import Plugins, load_plugins
from autotune.searching import hand_over, load_model, taught
from autotune.study import Study

WAIT = 0.5
"""Seconds between two looks whether the study is set up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What came of joining a study.

    Attributes:
        study: The study as it stands.
        reason: Why the worker left.
    """

    study: Study
    reason: str


def join(folder: Path, *, grace: float = engine.GRACE, observers: Iterable[object] = ()) -> Joined:
    """Runs trials of a study beside other workers, until nothing is left to do.

    Where nobody has set the study up, this worker does; the last one to leave hands over the best model and writes the
    report, unless a search does that which is still at work.

    Args:
        folder: The study's folder.
        grace: Seconds from SIGTERM or SIGUSR1 until this process is gone.
        observers: Objects with observer hooks, told of this worker's trials.

    Raises:
        Interrupted: A signal came; everything is saved.
        StudyError: There is no study, or its folder is damaged or cannot be written.
        UsageError: Who launched this worker gave it a GPU that is not there.
        RepeatedFailure: The same failure came five times in a row.
    """
    launched_by = os.environ.get(LAUNCHED_BY)
    gone = None if launched_by is None else left_by(launched_by)  # first of all: what follows may take minutes
    plugins = load_plugins()
    for number, observer in enumerate(observers):
        plugins.register(observer, f"{type(observer).__name__.lower()}-{number}")
    if not engine.is_study(folder):
        raise StudyError(f"{folder}: there is no study", hint="autotune search DATA begins one")
    _wait_until_set_up(folder, plugins, grace)
    plan = reopen(folder, plugins)
    if os.environ.get(ON_GPU) and not plan.device.startswith("cuda"):
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        raise UsageError(f"there is no GPU {given} here", hint="nvidia-smi -L lists the GPUs: --gpus 0,1")
    clock = engine.Clock(folder, plan.config.time)
    clock.open()
    plan = taught(plan, clock)
    with engine.at_work(plan, clock, grace=grace) as call:
        if gone is not None:
            call.pulse.add(lambda: call.signals.ask("its launcher's death") if gone() else None)
        reason = engine.run_worker(call)
    _conclude(plan, clock)
    return Joined(study=engine.snapshot(folder, load_model), reason=reason)


def left_by(launched_by: str) -> Callable[[], bool]:
    """Makes a function that says whether the call that launched this worker is known to be no more.

    It is seen wherever that call is this process's parent; else only on this machine, and not on every system.

    Args:
        launched_by: The call's mark.
    """
    parent = os.getppid()
    is_child = launched_by.split("-")[1:2] == [str(parent)]
    return lambda: (is_child and os.getppid() != parent) or is_dead(launched_by)


def _wait_until_set_up(folder: Path, plugins: Plugins, grace: float) -> None:
    """Waits for who sets the study up; does it, where nobody does."""
    while not engine.read_clock(folder)["ready"]:
        try:
            with engine.claim(folder):
                if engine.read_clock(folder)["ready"]:
                    return
                plan = reopen(folder, plugins)
                clock = engine.Clock(folder, plan.config.time)
                clock.open()
                plan = taught(plan, clock)
                engine.check(plan)
                with engine.at_work(plan, clock, grace=grace) as call:
                    engine.set_up(call)
                return
        except engine.InUseError:
            time.sleep(WAIT)


def _conclude(plan: Plan, clock: engine.Clock) -> None:
    """Hands over the best model and writes the report, once, where the study is done and nobody else does so."""
    try:
        with engine.claim(plan.path):
            study = engine.snapshot(plan.path, load_model)
            if study.state != "done" or engine.read_clock(plan.path)["handed"]:
                return
            hand_over(plan, clock)
            clock.hand_over()
            clock.close()
            study = engine.snapshot(plan.path, load_model)
    except engine.InUseError:
        return
    plan.plugins.notify("autotune_study_finished", study=study)
