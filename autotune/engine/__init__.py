"""The engine: ask, suggest, fit, prune, tell, by one worker or by several. The only package that imports Optuna."""

from autotune.engine.clock import Clock, read_clock, reserve
from autotune.engine.context import Context, lease_of, retries_of
from autotune.engine.following import Follower
from autotune.engine.lock import InUseError, claim
from autotune.engine.pruning import NoPruner, Pruner, Stop, SuccessiveHalving
from autotune.engine.search import (
    Call,
    at_work,
    check,
    end,
    model_loader,
    obstacle,
    read,
    run_search,
    run_worker,
    set_up,
)
from autotune.engine.signals import GRACE
from autotune.engine.snapshot import is_done, is_study, objective_of, read_study, snapshot
from autotune.engine.taking import dead_attempts, is_at_work

__all__ = [
    "GRACE",
    "Call",
    "Clock",
    "Context",
    "Follower",
    "InUseError",
    "NoPruner",
    "Pruner",
    "Stop",
    "SuccessiveHalving",
    "at_work",
    "check",
    "claim",
    "dead_attempts",
    "end",
    "is_at_work",
    "is_done",
    "is_study",
    "lease_of",
    "model_loader",
    "objective_of",
    "obstacle",
    "read",
    "read_clock",
    "read_study",
    "reserve",
    "retries_of",
    "run_search",
    "run_worker",
    "set_up",
    "snapshot",
]
