"""The kit for authors of plugins: suites to subclass, the checks behind them, tiny data.

With pytest, subclass a suite and every promise of the contract becomes a test::

    class TestMine(autotune.testing.TrainerSuite):
        spec = my_plugin.SPEC

Without pytest, call the checks: each is a plain function that raises `ContractError`, and
``for check in TRAINER_CHECKS: check(TrainerCase(spec), folder)`` runs all of them.
"""

from __future__ import annotations

from autotune.testing.augmentations import (
    AUGMENTATION_CHECKS as AUGMENTATION_CHECKS,
    AugmentationSuite as AugmentationSuite,
)
from autotune.testing.backbones import (
    BACKBONE_CHECKS as BACKBONE_CHECKS,
    BackboneCase as BackboneCase,
    BackboneSourceSuite as BackboneSourceSuite,
)
from autotune.testing.contract import ContractError as ContractError
from autotune.testing.runs import TrialRun as TrialRun
from autotune.testing.sources import (
    DATA_SOURCE_CHECKS as DATA_SOURCE_CHECKS,
    DataSourceCase as DataSourceCase,
    DataSourceSuite as DataSourceSuite,
)
from autotune.testing.tiny import (
    MemorySource as MemorySource,
    tiny_data as tiny_data,
    tiny_folder as tiny_folder,
    tiny_images as tiny_images,
    tiny_tasks as tiny_tasks,
)
from autotune.testing.trainers import (
    TRAINER_CHECKS as TRAINER_CHECKS,
    TrainerCase as TrainerCase,
    TrainerSuite as TrainerSuite,
)

__all__ = [
    "AUGMENTATION_CHECKS",
    "AugmentationSuite",
    "BACKBONE_CHECKS",
    "BackboneCase",
    "BackboneSourceSuite",
    "ContractError",
    "DATA_SOURCE_CHECKS",
    "DataSourceCase",
    "DataSourceSuite",
    "MemorySource",
    "TRAINER_CHECKS",
    "TrainerCase",
    "TrainerSuite",
    "TrialRun",
    "tiny_data",
    "tiny_folder",
    "tiny_images",
    "tiny_tasks",
]
