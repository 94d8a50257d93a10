"""Penalties that an optimiser's own weight decay does not cover, applied after its step and apart from its moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class Penalties:
    """Moves the weights after each step: towards where they started, and towards zero.

    Both take the rate of their tensors' group, as decoupled weight decay does, and neither enters the gradients: AdamW
    would divide them by its second moment, so that how strong a penalty is depended on how large the gradients were.

    - L2-SP (Li et al. 2018, arXiv:1802.01483): the step of ``alpha / 2 * |w - w0|^2`` towards the weights that the
      optimiser's tensors have now. For the trained blocks it takes the place of weight decay, norms and biases
      included: unlike zero, where they started does them no harm.
    - L1: the proximal step, soft thresholding (Daubechies et al. 2003, arXiv:math/0307152), on tensors of more than one
      dimension. A subgradient would step over zero and back; this leaves weights that are exactly zero.

    What needs no gradient, such as a block that is opened later, is left alone. Nothing waits for the device.

    Args:
        optimizer: Its groups say how strong: ``l2_sp`` and ``l1``; see `autotune.vision.make_optimizer`.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._pulled: list[tuple[dict[str, Any], list[torch.Tensor]]] = [
            (group, [parameter.detach().clone() for parameter in group["params"]])
            for group in optimizer.param_groups
            if group["l2_sp"] > 0
        ]
        self._shrunk = [group for group in optimizer.param_groups if group["l1"] > 0]

    @torch.no_grad()
    def __call__(self) -> None:
        """Applies them once, with the rates of the step that was just taken."""
        for group, starts in self._pulled:
            pairs = [(p, start) for p, start in zip(group["params"], starts, strict=True) if p.requires_grad]
            if pairs:
                # A rate times alpha above 1 would throw the weights beyond where they started.
                share = min(1.0, group["lr"] * group["l2_sp"])
                torch._foreach_lerp_([p for p, _ in pairs], [start for _, start in pairs], share)
        for group in self._shrunk:
            soften([p for p in group["params"] if p.requires_grad], group["lr"] * group["l1"])


def soften(tensors: Sequence[torch.Tensor], threshold: float) -> None:
    """Moves every number towards zero by a threshold, in place; what is nearer than that becomes exactly zero."""
    if not tensors:
        return
    near = torch._foreach_clamp_min(list(tensors), -threshold)
    torch._foreach_clamp_max_(near, threshold)
    torch._foreach_sub_(list(tensors), near)


def make_penalties(optimizer: torch.optim.Optimizer) -> Penalties | None:
    """The penalties that an optimiser's groups ask for, or None where they ask for none."""
    asked = any(group["l1"] > 0 or group["l2_sp"] > 0 for group in optimizer.param_groups)
    return Penalties(optimizer) if asked else None
