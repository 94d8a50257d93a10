"""Optimisers for part-frozen networks: a rate for each depth, no decay where decay does harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from autotune.vision.freezing import Partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Learning rates and what goes with them.

    Attributes:
        lr: Rate of the head.
        lr_blocks: Rate of the topmost trained block.
        layer_decay: Factor from each block to the one below it (Clark et al. 2020, arXiv:2003.10555).
        opt: ``adamw`` or ``sgd`` (with Nesterov momentum).
        momentum: SGD's momentum, AdamW's beta1.
        weight_decay: Decoupled for AdamW; never on biases, norms and other tensors of one dimension.
        l1: Strength of the L1 penalty on tensors of more than one dimension; see `autotune.vision.Penalties`.
        l2_sp: Strength of the pull of the trained blocks towards their start, in the place of their weight decay.
    """

    lr: float
    lr_blocks: float
    layer_decay: float
    opt: Literal["adamw", "sgd"]
    momentum: float
    weight_decay: float
    l1: float = 0.0
    l2_sp: float = 0.0

    def at(self, depth: int) -> float:
        """The rate at a depth: -1 for the head, 0 for the topmost trained block, 1 for the one below."""
        return self.lr if depth < 0 else self.lr_blocks * self.layer_decay**depth

    def decay(self, depth: int) -> float:
        """The weight decay at a depth, for tensors that have any."""
        return 0.0 if depth >= 0 and self.l2_sp > 0 else self.weight_decay


def make_optimizer(module: torch.nn.Module, partition: Partition, rates: Rates) -> torch.optim.Optimizer:
    """An optimiser over the trained parameters, grouped by depth and by whether decay applies.

    What is opened only later must be trained when this is called: a parameter that has no gradient is left as it is,
    its weight decay included. All of a block's tensors come into play together, since a block has groups of its own.
    """
    groups: dict[tuple[int, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((partition.depth(name), parameter.ndim > 1), []).append(parameter)
    listed = [
        {
            "params": parameters,
            "lr": rates.at(depth),
            "peak": rates.at(depth),
            "weight_decay": rates.decay(depth) * decays,
            "l1": rates.l1 * decays,
            "l2_sp": rates.l2_sp * (depth >= 0),
        }
        for (depth, decays), parameters in sorted(groups.items(), key=lambda pair: pair[0])
    ]
    if rates.opt == "sgd":
        return torch.optim.SGD(listed, lr=rates.lr, momentum=rates.momentum, nesterov=rates.momentum > 0, fused=True)
    return torch.optim.AdamW(listed, lr=rates.lr, betas=(rates.momentum, 0.999), fused=True)


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group's rate to its peak times a factor, e.g. for the warm-up."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, torch.Tensor]:
    """The optimiser's state as named tensors, e.g. ``head.weight/exp_avg``.

    Args:
        optimizer: Any optimiser whose state is tensors.
        names: Each parameter's name by its ``id``.
    """
    return {
        f"{names[id(parameter)]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], names: Mapping[int, str]
) -> None:
    """Gives an optimiser the state that `optimizer_tensors` took from another one."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            prefix = names[id(parameter)] + "/"
            state: dict[str, Any] = optimizer.state[parameter]
            for key, value in tensors.items():
                if key.startswith(prefix):
                    short = key[len(prefix) :]
                    # In the parameter's own memory layout: fused kernels walk both in the order of their bytes.
                    same = value.shape == parameter.shape
                    state[short] = torch.empty_like(parameter).copy_(value) if same else value.to(parameter.device)
