"""A training's whole state as named tensors, so that it goes on bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from autotune.errors import CheckpointError
from autotune.vision.loop import Trained
from autotune.vision.optim import optimizer_tensors, restore_optimizer
from autotune.vision.randomness import random_states, restore_random

MODEL, MEAN, OPTIMIZER = "model/", "mean/", "opt/"


def capture(trained: Trained, frozen: Mapping[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """Trained tensors, their average, and the optimiser's state, under the names that the average uses; random states.

    Args:
        trained: The training.
        frozen: Further tensors to keep, where no file of weights could give them back.
    """
    tensors = {MODEL + n: t.detach() for n, t in {**(frozen or {}), **trained.average.live}.items()}
    tensors |= {MEAN + n: t for n, t in trained.average.mean.items()}
    tensors |= {OPTIMIZER + n: t for n, t in optimizer_tensors(trained.optimizer, _names(trained)).items()}
    return tensors | random_states()


def restore(trained: Trained, tensors: Mapping[str, torch.Tensor]) -> None:
    """Puts a captured state back.

    Raises:
        CheckpointError: The state is of another network or of another part of it.
    """
    missing = [n for n in trained.average.live if MODEL + n not in tensors or MEAN + n not in tensors]
    if missing:
        raise CheckpointError(f"the checkpoint lacks {len(missing)} tensors of the network, e.g. {missing[0]}")
    with torch.no_grad():
        for name, tensor in trained.average.live.items():
            tensor.copy_(tensors[MODEL + name])
            trained.average.mean[name].copy_(tensors[MEAN + name])
    state = {n.removeprefix(OPTIMIZER): t for n, t in tensors.items() if n.startswith(OPTIMIZER)}
    restore_optimizer(trained.optimizer, state, _names(trained))
    restore_random(tensors)


def averaged(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The averaged tensors of a captured state, by the network's names; what was not averaged as it is.

    Integers, e.g. BatchNorm's counter, are taken from the live tensors.
    """
    live = {n.removeprefix(MODEL): t for n, t in tensors.items() if n.startswith(MODEL)}
    mean = {n.removeprefix(MEAN): t for n, t in tensors.items() if n.startswith(MEAN)}
    return {n: mean.get(n, t) if t.is_floating_point() else t for n, t in live.items()}


def _names(trained: Trained) -> dict[int, str]:
    return {id(tensor): name for name, tensor in trained.average.live.items()}
