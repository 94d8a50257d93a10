"""Labels that a linear probe doubts: it has not seen the image, and is sure of another class."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from autotune.data import Split, Task
from autotune.errors import AutotuneError
from autotune.inspecting.records import KEPT, Case, Finding
from autotune.lookup import resolve_backbone
from autotune.plugins import Plugins

if TYPE_CHECKING:
    from autotune.backbone import Backbone

PIXELS = "pixels"
AUTO = "auto"
MARGIN = 0.5
"""By how much another class must be likelier than the label."""
SMALL = 24
"""Side in pixels up to which an image's own pixels say as much as a network that was made for larger ones."""
HINT = "look at them, the most doubted first; the weaker the probe, the more of them are right"

Probabilities = npt.NDArray[np.float32]


def suspects(
    task: Task,
    plugins: Plugins,
    *,
    backbone: str = AUTO,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Finding:
    """The images of train and val whose labels a cross-validated linear probe doubts; select and test stay locked.

    Args:
        task: The images.
        plugins: Where backbones and their weights come from.
        backbone: ``timm/resnet18`` and the like, ``pixels`` for the images' own pixels made small, or ``auto``: an
            installed backbone, else pixels; pixels also where images are small.
        device: A torch device name, or ``auto``.
        progress: Told how many images are done, and how many there are.

    Raises:
        AutotuneError: The backbone that was asked for cannot be had.
    """
    from autotune.vision import cross_fitted, frozen_features, pick_device, pixel_features

    side = _joined(task)
    network = _network(task, plugins, backbone)
    if network is None:
        features, what = pixel_features(side, grey=task.profile.grey, progress=progress), "small pixels"
    else:
        features = frozen_features(side, task, network, device=pick_device(device), progress=progress)
        what = network.name
    probabilities = cross_fitted(features, side.labels, side.ids, classes=len(task.classes))
    accuracy = float((probabilities.argmax(axis=1) == side.labels).mean())
    rows, guesses = doubted(probabilities, side.labels)
    cases = (
        Case(
            images=(side.keys[row],),
            note=f"labelled {task.classes[side.labels[row]]!r}, looks like {task.classes[guess]!r} "
            f"({probabilities[row, guess]:.0%} to {probabilities[row, side.labels[row]]:.0%})",
        )
        for row, guess in zip(rows[:KEPT].tolist(), guesses[:KEPT].tolist(), strict=True)
    )
    return Finding(
        kind="suspects",
        summary=f"{len(rows):,} of {len(side):,} labels are doubted by a linear probe on {what}, "
        f"which is right about {accuracy:.1%}",
        count=len(rows),
        cases=tuple(cases),
        hint=HINT if len(rows) else None,
    )


def doubted(probabilities: Probabilities, labels: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
    """Which labels are doubted, by confident learning (Northcutt, Jiang and Chuang 2021, doi:10.1613/jair.1.12125).

    A class speaks against a label where it is as likely as that class is, on average, among the images that bear it;
    here it must also be likelier than the label by `MARGIN`.

    Args:
        probabilities: float32 [N, C], by who has not seen the image.
        labels: int64 [N].

    Returns:
        The doubted images, the most doubted first, and the class that each looks like, both int64.
    """
    every = np.arange(len(labels))
    own = probabilities[every, labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    usual = np.bincount(labels, weights=own, minlength=len(counts)) / np.maximum(1, counts)
    against = np.where((probabilities >= usual) & (counts > 0), probabilities, 0)
    against[every, labels] = 0
    guesses = against.argmax(axis=1)
    margin = against[every, guesses] - own
    found = np.flatnonzero(margin >= MARGIN)
    order = found[np.argsort(-margin[found], kind="stable")]
    return order, guesses[order]


def _joined(task: Task) -> Split:
    """Train and val as one side."""
    train, val = task.train, task.val
    return Split(
        ids=(*train.ids, *val.ids),
        labels=np.concatenate([train.labels, val.labels]),
        keys=(*train.keys, *val.keys),
        reader=train.reader,
    )


def _network(task: Task, plugins: Plugins, asked: str) -> Backbone | None:
    """The backbone to read features from; None for pixels."""
    if asked == PIXELS:
        return None
    if asked != AUTO:
        return resolve_backbone(asked, plugins)
    if min(task.profile.height[1], task.profile.width[1]) <= SMALL:
        return None
    installed = dict.fromkeys(name for info in plugins.listing() for name in info.offers.get("weights", ()))
    found: list[Backbone] = []
    for name in installed:
        try:
            found.append(resolve_backbone(name, plugins))
        except AutotuneError:
            continue  # not asked for by name: another, or pixels, will do
    return min(found, key=lambda backbone: backbone.facts.cost or float("inf"), default=None)
