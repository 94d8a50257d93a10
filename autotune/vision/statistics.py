"""Statistics of batch normalisation, computed anew for a network whose weights were put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from autotune.data import Split
    from autotune.vision.model import TorchModel


@torch.no_grad()
def refresh_statistics(model: TorchModel, norms: Iterable[str], split: Split) -> None:
    """Computes the running statistics of some norms anew: the mean over batches of images as evaluation sees them.

    It does what ``torch.optim.swa_utils.update_bn`` does (Izmailov et al. 2018, arXiv:1803.05407), for the named norms
    only: everything else stays in evaluation mode, so that frozen norms keep their statistics and nothing is dropped
    at random.

    Args:
        model: The model; left in evaluation mode.
        norms: Names of modules that are batch norms.
        split: The images, at least one.
    """
    modules: list[Any] = [model.module.get_submodule(name) for name in norms]
    momenta = [norm.momentum for norm in modules]
    model.module.eval()
    for norm in modules:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches, each counting alike
        norm.training = True
    try:
        for part in torch.arange(len(split)).tensor_split(-(-len(split) // model.placement.eval_batch)):
            with model.placement.autocast():
                model.module(model.inputs([split.image(i) for i in part.tolist()]))
    finally:
        for norm, momentum in zip(modules, momenta, strict=True):
            norm.momentum = momentum
        model.module.eval()
