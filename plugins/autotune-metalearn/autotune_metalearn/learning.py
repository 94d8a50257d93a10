"""Meta-training: from images of many classes to a folder that serves as a backbone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from autotune.lookup import architecture, resolve_backbone
from autotune.plugins import load_plugins
from autotune.vision import derive, pick_device
from autotune_metalearn.anil import Anil
from autotune_metalearn.episodes import Drawer, Episodes
from autotune_metalearn.fewshot import interval
from autotune_metalearn.network import Network, preprocess_for
from autotune_metalearn.projected import PREFIX
from autotune_metalearn.reading import read_sides
from autotune_metalearn.reptile import Reptile
from autotune_metalearn.results import check_free, save
from autotune_metalearn.settings import Settings

BACKBONE = "timm/tf_efficientnet_lite0"
LOOKS = 6
"""How often the meta-validation tasks are looked at, beside the start."""
TASKS = {"anil": 200, "reptile": 30}
"""Meta-validation tasks: Reptile adapts to one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the meta-validation tasks.

    Attributes:
        step: Outer steps done.
        accuracy: Mean over the tasks.
        interval: Half of its 95 % interval over tasks.
    """

    step: int
    accuracy: float
    interval: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a meta-training came to.

    Attributes:
        folder: Where it lies; ``study:FOLDER`` is a backbone.
        settings: What it was told.
        classes: Classes to learn from, to choose by, and kept for measuring.
        curve: The looks at the meta-validation tasks, the first one before any step.
        step: The outer step whose state was kept: the best of these looks, 0 if nothing was better than the start.
    """

    folder: Path
    settings: Settings
    classes: tuple[int, int, int]
    curve: tuple[Look, ...]
    step: int


class Learner(Protocol):
    """What a method of meta-learning does."""

    def step(self, number: int) -> None:
        """One outer step."""

    def accuracies(self, episodes: Episodes) -> torch.Tensor:
        """Accuracies on meta-validation tasks, float32 [E] on the CPU."""

    def state(self) -> Mapping[str, torch.Tensor]:
        """A copy of what was learned so far."""

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Puts a state back."""

    def result(self) -> torch.nn.Module:
        """The network with what was learned in it; asked once, at the end."""


def learn(
    data: str | os.PathLike[str],
    method: str,
    out: str | os.PathLike[str],
    *,
    backbone: str = BACKBONE,
    img_size: int | None = None,
    device: str = "auto",
    progress: Callable[[Look], None] | None = None,
    **given: Any,
) -> Learned:
    """Meta-trains on the classes of a place of images that are for it.

    The classes are split by the hashes of their names: three in five to learn from, three in twenty to choose by, and
    a quarter that is not looked at here.

    Args:
        data: A folder with one folder of images a class, or what another data source accepts.
        method: ``reptile`` or ``anil``.
        out: The folder to write; must be empty, or not there.
        backbone: ``SOURCE/NAME``, also with own weights, or ``study:PATH``.
        img_size: Side of the network's input in pixels; chosen by the images' size by default.
        device: ``auto``, or a torch device name.
        progress: Told of every look at the meta-validation tasks.
        given: See `Settings`; None leaves a value to the method's default.

    Raises:
        AutotuneError: The request, the images, the weights or the folder cannot be used.
    """
    settings = Settings.of(method, **given)
    folder = Path(out)
    check_free(folder)
    plugins = load_plugins()
    place = pick_device(device)
    start = resolve_backbone(backbone, plugins)
    sides = read_sides(os.fspath(data), plugins, fewest=settings.shots + settings.queries)
    sides.require(settings.ways, "train", "val")
    preprocess = preprocess_for(start.facts, sides.short, img_size)
    unfreeze = settings.unfreeze if settings.method == "reptile" else 0
    network = Network(start, settings.ways, unfreeze=unfreeze, preprocess=preprocess, device=place)
    name = architecture(backbone)
    learner: Learner
    if settings.method == "reptile":
        learner = Reptile(network, sides.train, sides.val, settings)
    else:
        learner = anil = Anil(network, sides.train, sides.val, settings)
        name = f"{PREFIX}/{anil.width}/{name}"
    episodes = Drawer(sides.val.split.labels).draw(
        TASKS[settings.method],
        ways=settings.ways,
        shots=settings.shots,
        queries=settings.queries,
        seed=derive(settings.seed, "validation"),
    )
    curve = climb(learner, episodes, settings.steps, progress)
    save(
        folder,
        learner.result(),
        settings=settings,
        architecture=name,
        started_from=backbone,
        start=start,
        preprocess=preprocess,
        sides=sides,
        curve=[asdict(look) for look in curve],
    )
    return Learned(
        folder=folder,
        settings=settings,
        classes=(len(sides.train.names), len(sides.val.names), len(sides.test.names)),
        curve=tuple(curve),
        step=_best(curve).step,
    )


def climb(
    learner: Learner, episodes: Episodes, steps: int, progress: Callable[[Look], None] | None = None
) -> list[Look]:
    """Takes the outer steps, looks at the same tasks now and then, and leaves the state of the best look.

    A state that is no better than an earlier one does not take its place, the start being the first.

    Args:
        learner: The method.
        episodes: Meta-validation tasks.
        steps: Outer steps.
        progress: Told of every look.
    """
    curve: list[Look] = []
    best: Mapping[str, torch.Tensor] = {}

    def look(step: int) -> None:
        nonlocal best
        found = learner.accuracies(episodes)
        curve.append(Look(step=step, accuracy=float(found.mean()), interval=interval(found)))
        if _best(curve) is curve[-1]:
            best = learner.state()
        if progress is not None:
            progress(curve[-1])

    look(0)
    every = max(1, steps // LOOKS)
    for number in range(steps):
        learner.step(number)
        if (number + 1) % every == 0 or number + 1 == steps:
            look(number + 1)
    learner.restore(best)
    return curve


def _best(curve: list[Look]) -> Look:
    """The first of the highest."""
    return max(curve, key=lambda look: look.accuracy)
