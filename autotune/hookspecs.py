"""The hooks. A plugin is a module (or any object) with functions of these names, marked ``@autotune.hookimpl``.

Register it under the entry-point group ``autotune``. A function may leave out arguments that it does not need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from autotune.backbone import Facts
    from autotune.data import Data
    from autotune.space import Scalar, SearchSpace
    from autotune.specs import (
        AugmentationSpec,
        BackboneSourceSpec,
        DataSourceSpec,
        ExporterSpec,
        LauncherSpec,
        TrainerSpec,
        WeightsSpec,
    )
    from autotune.study import Study, Trial
    from autotune.trainer import Epoch

hookspec = pluggy.HookspecMarker("autotune")
hookimpl = pluggy.HookimplMarker("autotune")


@hookspec
def autotune_trainers() -> Iterable[TrainerSpec]:
    """Offers trainers.

    Example:
        ``return [TrainerSpec(name="mine", summary="...", recipe=MyRecipe, build=MyTrainer)]``
    """
    raise NotImplementedError


@hookspec
def autotune_backbones() -> Iterable[BackboneSourceSpec]:
    """Offers collections of backbones.

    Example:
        ``return [BackboneSourceSpec(name="acme", summary="Acme's networks", build=AcmeSource)]``
    """
    raise NotImplementedError


@hookspec
def autotune_weights() -> Iterable[WeightsSpec]:
    """Offers weights for backbones that a source already has.

    Example:
        ``return [WeightsSpec(backbone="timm/resnet18", summary="...", licence="mit", locate=find_file)]``
    """
    raise NotImplementedError


@hookspec
def autotune_data_sources() -> Iterable[DataSourceSpec]:
    """Offers kinds of places that images come from.

    Example:
        ``return [DataSourceSpec(name="s3", summary="s3://...", accepts=is_s3, open=S3Source)]``
    """
    raise NotImplementedError


@hookspec
def autotune_augmentations() -> Iterable[AugmentationSpec]:
    """Offers augmentation policies; the search samples among all that are installed.

    Example:
        ``return [AugmentationSpec(name="rotate", summary="...", build=make_rotate)]``
    """
    raise NotImplementedError


@hookspec
def autotune_launchers() -> Iterable[LauncherSpec]:
    """Offers ways to start workers.

    Example:
        ``return [LauncherSpec(name="lsf", summary="IBM's scheduler", build=LsfLauncher)]``
    """
    raise NotImplementedError


@hookspec
def autotune_exporters() -> Iterable[ExporterSpec]:
    """Offers formats to write a model in.

    Example:
        ``return [ExporterSpec(name="coreml", summary="...", build=CoreMlExporter)]``
    """
    raise NotImplementedError


@hookspec
def autotune_search_space(trainer: TrainerSpec, backbones: Sequence[Facts], data: Data) -> SearchSpace | None:
    """Decides the search space for a trainer; None leaves it to others, two answers are an error.

    Example:
        ``return SearchSpace.of(trainer.recipe).changed("lr", high=0.01)``
    """


@hookspec
def autotune_warm_start(trainer: TrainerSpec, space: SearchSpace, data: Data) -> Iterable[Mapping[str, Scalar]] | None:
    """Proposes recipes to try first; what a proposal leaves out takes the recipe's default.

    All plugins are asked. A proposal outside the space is dropped with a warning; `SearchSpace.nearest` moves one in.

    Example:
        ``return [{"lr": 1e-3, "unfreeze_share": 0.0}]``
    """


@hookspec
def autotune_study_started(study: Study) -> None:
    """The search begins, or goes on. Once a study and call, not once a worker."""


@hookspec
def autotune_trial_started(study: Study, trial: Trial) -> None:
    """A trial begins, or resumes."""


@hookspec
def autotune_epoch_finished(study: Study, trial: Trial, epoch: Epoch) -> None:
    """A trial yielded an epoch; the trial's curve includes it.

    The trials of a batch are told of one after the other, with the same study.
    """


@hookspec
def autotune_trial_finished(study: Study, trial: Trial) -> None:
    """A trial is complete, pruned, failed or paused."""


@hookspec
def autotune_study_finished(study: Study) -> None:
    """The search has ended and its best model is saved."""
