"""The engine: ask, suggest, fit, prune, tell. The only package that imports Optuna."""

from autotune.engine.clock import Clock, reserve
from autotune.engine.lock import claim
from autotune.engine.pruning import NoPruner, Pruner, Stop, SuccessiveHalving
from autotune.engine.search import model_loader, read, run_search
from autotune.engine.snapshot import is_study, objective_of, read_study, snapshot

__all__ = [
    "Clock",
    "NoPruner",
    "Pruner",
    "Stop",
    "SuccessiveHalving",
    "claim",
    "is_study",
    "model_loader",
    "objective_of",
    "read",
    "read_study",
    "reserve",
    "run_search",
    "snapshot",
]
