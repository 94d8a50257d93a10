"""autotune finds the best fine-tuned image model for your own data within a budget, and shows why.

Everything public is importable from here; names are loaded when they are first used, so that
``import autotune`` loads neither torch nor Optuna.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune.api import (
        evaluate as evaluate,
    )
    from autotune.api import (
        improve as improve,
    )
    from autotune.api import (
        load as load,
    )
    from autotune.api import (
        open as open,
    )
    from autotune.api import (
        search as search,
    )

__version__ = "0.1.0"

_HOMES = {
    "autotune.api": "search open load evaluate improve",
    "autotune.backbone": "Backbone BackboneSource Facts Weights",
    "autotune.cache": "cache_folder",
    "autotune.checkpoint": "Checkpoint read_checkpoint write_atomically write_checkpoint",
    "autotune.data": "Data DataSource Image Item Profile Split Task",
    "autotune.errors": (
        "AutotuneError BadData BudgetError CheckpointError ConfigError DataError Diverged Interrupted OutOfMemory "
        "PluginError StudyError TrialFailure UnknownName UsageError WeightsUnavailable"
    ),
    "autotune.exporter": "Exporter",
    "autotune.hookspecs": "hookimpl",
    "autotune.launcher": "Launcher WorkerSpec WorkerState WorkerStatus",
    "autotune.model": "Model Preprocess",
    "autotune.objective": "Goal Limit Objective",
    "autotune.space": "Choice Float Int SearchSpace",
    "autotune.specs": (
        "AugmentationSpec BackboneSourceSpec DataSourceSpec ExporterSpec LauncherSpec Presets TrainerSpec WeightsSpec"
    ),
    "autotune.study": "Best Failure Point Study Trial",
    "autotune.tracker": "Tracker",
    "autotune.trainer": "Epoch Recipe Run Trainer World",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'autotune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *globals()])
