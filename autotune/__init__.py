"""autotune finds the best fine-tuned image model for your own data within a budget, and shows why.

Everything public is importable from here; names are loaded when they are first used, so that
``import autotune`` loads neither torch nor Optuna.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune.api import (
        check as check,
        evaluate as evaluate,
        find_lr as find_lr,
        improve as improve,
        load as load,
        open as open,
        search as search,
    )
    from autotune.backbone import (
        Backbone as Backbone,
        BackboneSource as BackboneSource,
        Facts as Facts,
        Weights as Weights,
    )
    from autotune.cache import cache_folder as cache_folder
    from autotune.checkpoint import (
        Checkpoint as Checkpoint,
        read_checkpoint as read_checkpoint,
        write_atomically as write_atomically,
        write_checkpoint as write_checkpoint,
    )
    from autotune.data import (
        Data as Data,
        DataSource as DataSource,
        Image as Image,
        Item as Item,
        Profile as Profile,
        Side as Side,
        Split as Split,
        Task as Task,
    )
    from autotune.errors import (
        AutotuneError as AutotuneError,
        BadData as BadData,
        BudgetError as BudgetError,
        CheckpointError as CheckpointError,
        ConfigError as ConfigError,
        DataError as DataError,
        Diverged as Diverged,
        Interrupted as Interrupted,
        OutOfMemory as OutOfMemory,
        PluginError as PluginError,
        StudyError as StudyError,
        TrialFailure as TrialFailure,
        UnknownName as UnknownName,
        UsageError as UsageError,
        WeightsUnavailable as WeightsUnavailable,
    )
    from autotune.exporter import Exporter as Exporter
    from autotune.hookspecs import hookimpl as hookimpl
    from autotune.images import (
        IMAGE_SUFFIXES as IMAGE_SUFFIXES,
        MAX_PIXELS as MAX_PIXELS,
        PROFILES_NOTE as PROFILES_NOTE,
        FileSource as FileSource,
        decode_image as decode_image,
        file_stamp as file_stamp,
        image_pixels as image_pixels,
        read_image as read_image,
    )
    from autotune.launcher import (
        Launcher as Launcher,
        WorkerSpec as WorkerSpec,
        WorkerState as WorkerState,
        WorkerStatus as WorkerStatus,
    )
    from autotune.layout import (
        EXPECTED_FOLDERS as EXPECTED_FOLDERS,
        class_folders as class_folders,
        class_label as class_label,
        is_image_path as is_image_path,
        side_named as side_named,
    )
    from autotune.model import Model as Model, Preprocess as Preprocess
    from autotune.objective import Goal as Goal, Limit as Limit, Objective as Objective
    from autotune.plugins import register as register
    from autotune.space import (
        Choice as Choice,
        Float as Float,
        Int as Int,
        Scalar as Scalar,
        SearchSpace as SearchSpace,
    )
    from autotune.specs import (
        AugmentationSpec as AugmentationSpec,
        BackboneSourceSpec as BackboneSourceSpec,
        DataSourceSpec as DataSourceSpec,
        ExporterSpec as ExporterSpec,
        LauncherSpec as LauncherSpec,
        Presets as Presets,
        TrainerSpec as TrainerSpec,
        WeightsSpec as WeightsSpec,
    )
    from autotune.study import Best as Best, Failure as Failure, Point as Point, Study as Study, Trial as Trial
    from autotune.tracker import Tracker as Tracker
    from autotune.trainer import (
        Epoch as Epoch,
        RateCurve as RateCurve,
        Recipe as Recipe,
        Run as Run,
        Screening as Screening,
        StopReason as StopReason,
        Trainer as Trainer,
        World as World,
    )

# How long a thread spins before it sleeps; torch's libgomp reads it once. Its own 300,000 turns make training on a busy
# machine several times slower, and sleeping at once makes small steps on an idle one six times slower.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"

_HOMES = {
    "autotune.api": "search check open load evaluate improve find_lr",
    "autotune.backbone": "Backbone BackboneSource Facts Weights",
    "autotune.cache": "cache_folder",
    "autotune.checkpoint": "Checkpoint read_checkpoint write_atomically write_checkpoint",
    "autotune.data": "Data DataSource Image Item Profile Side Split Task",
    "autotune.errors": (
        "AutotuneError BadData BudgetError CheckpointError ConfigError DataError Diverged Interrupted OutOfMemory "
        "PluginError StudyError TrialFailure UnknownName UsageError WeightsUnavailable"
    ),
    "autotune.exporter": "Exporter",
    "autotune.hookspecs": "hookimpl",
    "autotune.images": (
        "IMAGE_SUFFIXES MAX_PIXELS PROFILES_NOTE FileSource decode_image file_stamp image_pixels read_image"
    ),
    "autotune.layout": "EXPECTED_FOLDERS class_folders class_label is_image_path side_named",
    "autotune.launcher": "Launcher WorkerSpec WorkerState WorkerStatus",
    "autotune.model": "Model Preprocess",
    "autotune.objective": "Goal Limit Objective",
    "autotune.space": "Choice Float Int Scalar SearchSpace",
    "autotune.plugins": "register",
    "autotune.specs": (
        "AugmentationSpec BackboneSourceSpec DataSourceSpec ExporterSpec LauncherSpec Presets TrainerSpec WeightsSpec"
    ),
    "autotune.study": "Best Failure Point Study Trial",
    "autotune.tracker": "Tracker",
    "autotune.trainer": "Epoch RateCurve Recipe Run Screening StopReason Trainer World",
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
