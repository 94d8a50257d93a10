"""What plugins hand over: frozen, typed, keyword-only records.

A record names a thing and says how to build it; building is left until the thing is used, so that listing
plugins imports neither torch nor anybody's heavy dependency.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from autotune.backbone import BackboneSource, Facts, Weights
from autotune.data import DataSource, Profile
from autotune.exporter import Exporter
from autotune.launcher import Launcher
from autotune.space import Scalar
from autotune.trainer import Recipe, Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Presets:
    """Values that a trainer chooses for fields that the study leaves open.

    Attributes:
        fixed: Values by field, e.g. ``{"img_size": 96}``.
        reasons: One line each, for people.
    """

    fixed: Mapping[str, Scalar]
    reasons: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerSpec:
    """A trainer.

    Attributes:
        name: What ``trainer=`` says.
        summary: One line.
        recipe: Its hyperparameters; must have a field ``backbone`` if it uses one.
        build: Makes the trainer; imports what it needs.
        metrics: What every epoch with metrics reports.
        tasks: Whether it takes one task or many. With several, each score is reported as ``TASK/accuracy`` beside the
            one that the study optimises, e.g. their mean, and `autotune.Model.task` gives each task's model.
        batch: How many recipes `Trainer.fit_many` takes at once, or a function from the first recipe of a batch,
            resolved, to that number. Where it is 1, `Trainer.fit` is asked.
        same: Fields that are equal within a batch; they come from its first recipe.
        device: Resolves ``auto``, or checks a name such as ``cuda:1``; None for a trainer that needs no device.
        presets: Chooses values from the data's profile, the candidates, the device and what the study fixes, since a
            length in epochs goes by a fixed batch size; None chooses nothing.
        unread: Names the fields that no recipe with these fixed values reads, e.g. the neighbours of a head that has
            none: they are not searched, unless the study's file asks for them. None where every field is always read.
        soft: Whether it learns from `autotune.Split.soft` where the train side has it; ``teacher=`` needs that.
        frozen: Whether backbones stay as they are and see each image once for all trials; more of them are affordable
            then.
    """

    name: str
    summary: str
    recipe: type[Recipe]
    build: Callable[[], Trainer[Any]]
    metrics: tuple[str, ...] = ("accuracy",)
    tasks: Literal["one", "many"] = "one"
    batch: int | Callable[[Recipe], int] = 1
    same: tuple[str, ...] = ()
    device: Callable[[str], str] | None = None
    presets: Callable[[Profile, Sequence[Facts], str, Mapping[str, Scalar]], Presets] | None = None
    unread: Callable[[Mapping[str, Scalar]], Collection[str]] | None = None
    soft: bool = False
    frozen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSourceSpec:
    """A collection of backbones; its name is the prefix, as in ``timm/resnet18``."""

    name: str
    summary: str
    build: Callable[[], BackboneSource]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSpec:
    """Pretrained weights for a backbone that a source offers. They come before the hub's.

    Attributes:
        backbone: ``source/name``.
        summary: One line.
        licence: As the publisher names it.
        locate: Finds or prepares the file; raises `WeightsUnavailable` where it cannot.
    """

    backbone: str
    summary: str
    licence: str | None
    locate: Callable[[], Weights]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSourceSpec:
    """A kind of place that images come from.

    Attributes:
        name: For people, and for listings.
        summary: One line, with an example of a location.
        accepts: Whether a location, as the person wrote it, is of this kind; quick, touches no image.
        open: Opens the location.
    """

    name: str
    summary: str
    accepts: Callable[[str], bool]
    open: Callable[[str], DataSource]


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationSpec:
    """An augmentation policy.

    Attributes:
        name: What the recipe's ``augment`` says.
        summary: One line.
        build: Given the side of the network's input in pixels and the interpolation (``bilinear`` or
            ``bicubic``), returns a function from an image, a torch tensor uint8 [3, H, W], to one draw of the
            policy, uint8 [3, S, S]. It draws from torch's global generator only.
        build_batch: Given the same, returns an `autotune.vision.BatchPolicy`, which draws for a batch at once, on
            any device: much faster. It means what `build` means. None calls `build`'s function for each image.
    """

    name: str
    summary: str
    build: Callable[[int, str], Callable[[Any], Any]]
    build_batch: Callable[[int, str], Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherSpec:
    """A way to start workers."""

    name: str
    summary: str
    build: Callable[[], Launcher]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterSpec:
    """A format for ``autotune export``."""

    name: str
    summary: str
    build: Callable[[], Exporter]
