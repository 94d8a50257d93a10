"""The arithmetic of training several linear heads at once on one batch of frozen features.

The gradient of the softmax cross-entropy is written down, so that no graph is recorded: with probabilities p,
targets t and features x it is ``(p - t) x' / batch`` for the weights, times what the image's class counts. The bias is
one more column of the weights, which reads a feature that is always 1. The updates are those of `torch.optim.AdamW`
(Loshchilov and Hutter 2019, arXiv:1711.05101) and `torch.optim.SGD` with Nesterov's momentum; the bias never decays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autotune.vision.headplans import BETA2, HeadPlan, step_terms


@dataclass(slots=True)
class Head:
    """One head in training.

    Attributes:
        plan: How it is trained.
        weight: float32 [C, W]: a column for each feature, one for the bias, the rest zeros.
        mean: The averaged weights, likewise.
        first: AdamW's mean of gradients, or SGD's momentum.
        second: AdamW's mean of squared gradients; empty for SGD.
        steps: Steps done.
    """

    plan: HeadPlan
    weight: torch.Tensor
    mean: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Room that groups share, as they take their steps one after the other.

    Attributes:
        grad: Floats for the largest group's gradient.
        spare: As many.
        kept: Floats for the largest group's inputs after dropout.
        logits: Floats for the largest group's logits.
        odds: As many.
        features: Features an image, without the bias's.
        bias: 1 where the heads have a bias, else 0.
        weights: What an image of each class counts, float32 [C], or None.
        shift: What is added to each class's logits in training, float32 [C], or None.
    """

    grad: torch.Tensor
    spare: torch.Tensor
    kept: torch.Tensor
    logits: torch.Tensor
    odds: torch.Tensor
    features: int
    bias: int
    weights: torch.Tensor | None = None
    shift: torch.Tensor | None = None


class HeadGroup:
    """Heads of one optimiser, all with dropout or all without, whose tensors lie side by side.

    Args:
        heads: Their tensors are moved here: afterwards each head's tensors are views of the group's.
        scratch: Room for one step.
    """

    def __init__(self, heads: Sequence[Head], scratch: Scratch) -> None:
        self.heads, self.scratch = list(heads), scratch
        plans = [head.plan for head in heads]
        self.adamw, self.drops = plans[0].opt == "adamw", any(plan.drop > 0 for plan in plans)
        self.sparse = any(plan.l1 > 0 for plan in plans)
        self.weight = torch.stack([head.weight for head in heads])
        self.mean = torch.stack([head.mean for head in heads])
        self.first = torch.stack([head.first for head in heads])
        self.second = torch.stack([head.second for head in heads]) if self.adamw else self.first
        for i, head in enumerate(heads):
            head.weight, head.mean, head.first = self.weight[i], self.mean[i], self.first[i]
            if self.adamw:
                head.second = self.second[i]
        self.classes, self.width = self.weight.shape[1:]
        self.decaying = self.weight[:, :, : scratch.features]
        self.grad = scratch.grad[: self.weight.numel()].view_as(self.weight)
        self.spare = scratch.spare[: self.weight.numel()].view_as(self.weight)
        self.grad_decaying = self.grad[:, :, : scratch.features]
        self.fresh = self._column([1 - p.momentum for p in plans])
        self.momentum = self._column([p.momentum for p in plans])
        self.decay = self._column([p.weight_decay for p in plans])
        self.floor = self._column([p.smoothing / self.classes for p in plans])
        self.peak = self._column([p.smoothing - 1 for p in plans])
        self.scale = self._column([1 / p.stays for p in plans])
        self.bias_input = self._column([p.stays * scratch.bias for p in plans])[:, :, 0]
        self.threshold = self._column([p.threshold for p in plans]).to(torch.int16)
        self._terms: Sequence[Sequence[torch.Tensor]] = ()
        self._views: dict[int, tuple[torch.Tensor, ...]] = {}

    def _column(self, values: Sequence[float]) -> torch.Tensor:
        """One number for each head, [heads, 1, 1]."""
        return torch.tensor(values, dtype=torch.float32).to(self.weight.device).view(-1, 1, 1)

    def prepare(self, count: int) -> None:
        """Works out what changes from step to step, rates and corrections, for the next steps."""
        terms = step_terms([h.plan for h in self.heads], [h.steps for h in self.heads], count)
        table = torch.from_numpy(terms.astype(np.float32)).to(self.weight.device)
        self._terms = [step.unbind(0) for step in table.view(*table.shape, 1, 1).unbind(0)]

    def step(self, inputs: torch.Tensor, labels: torch.Tensor, draws: torch.Tensor | None, number: int) -> None:
        """Takes one step of every head.

        Args:
            inputs: float32 [B, W]: the features, 1 for the bias, zeros.
            labels: int64 [B].
            draws: Whole numbers int16 [B, W], uniform over all 65,536: each head keeps the features whose number
                reaches its threshold. Needed where heads of the group have dropout.
            number: Which of the prepared steps this is, from 0.
        """
        self._gradient(inputs, labels, draws)
        terms = self._terms[number]
        if self.adamw:
            shrink, eps, rate, blend, near = terms
            self.first.lerp_(self.grad, self.fresh)
            self.second.mul_(BETA2).addcmul_(self.grad, self.grad, value=1 - BETA2)
            torch.sqrt(self.second, out=self.spare).add_(eps)
            torch.div(self.first, self.spare, out=self.spare)
            self.decaying.mul_(shrink)
            self.weight.addcmul_(self.spare, rate)
        else:
            rate, blend, near = terms
            self.grad_decaying.addcmul_(self.decaying, self.decay)
            self.first.mul_(self.momentum).add_(self.grad)
            self.grad.addcmul_(self.first, self.momentum)
            self.weight.addcmul_(self.grad, rate)
        if self.sparse:
            self.decaying.sub_(torch.clamp(self.decaying, -near, near))
        self.mean.lerp_(self.weight, blend)

    def _gradient(self, inputs: torch.Tensor, labels: torch.Tensor, draws: torch.Tensor | None) -> None:
        """The mean gradient of the batch, into `grad`; classes before images, which suits the softmax."""
        size = len(labels)
        if size not in self._views:
            self._views[size] = self._cut(size)
        logits, odds, rows, peak, kept, kept_bias = self._views[size]
        if self.drops:
            if draws is None:
                raise ValueError("heads with dropout need draws")
            torch.ge(draws, self.threshold, out=kept).mul_(inputs)
            # All logits are scaled up below; what the bias reads is scaled down first.
            kept_bias.copy_(self.bias_input)
            torch.bmm(self.weight, kept.transpose(1, 2), out=logits)
            logits.mul_(self.scale)
        else:
            torch.mm(self.weight.view(-1, self.width), inputs.t(), out=logits.view(-1, size))
        if self.scratch.shift is not None:
            logits.add_(self.scratch.shift.view(1, -1, 1))
        torch.softmax(logits, 1, out=odds)
        odds.sub_(self.floor).scatter_add_(1, labels.view(1, 1, size).expand_as(peak), peak)
        if self.scratch.weights is not None:
            odds.mul_(self.scratch.weights[labels])
        if self.drops:
            odds.mul_(self.scale)
            torch.baddbmm(self.grad, odds, kept, beta=0, alpha=1 / size, out=self.grad)
        else:
            grad = self.grad.view(-1, self.width)
            torch.addmm(grad, rows, inputs, beta=0, alpha=1 / size, out=grad)

    def _cut(self, size: int) -> tuple[torch.Tensor, ...]:
        """Views of the room for batches of one size."""
        heads, scratch = len(self.heads), self.scratch
        logits = scratch.logits[: heads * self.classes * size].view(heads, self.classes, size)
        odds = scratch.odds[: logits.numel()].view_as(logits)
        kept = scratch.kept[: heads * size * self.width if self.drops else 0].view(-1, size, self.width)
        peak = self.peak.expand(heads, 1, size)
        return logits, odds, odds.view(-1, size), peak, kept, kept[:, :, scratch.features]

    @torch.no_grad()
    def odds(self, features: torch.Tensor, which: slice) -> torch.Tensor:
        """Probabilities [heads, C, N] by the averaged weights of some heads, for features [N, D]."""
        mean = self.mean[which]
        used = mean[:, :, : self.scratch.features].reshape(-1, self.scratch.features)
        bias = mean[:, :, self.scratch.features].reshape(-1, 1)
        logits = torch.addmm(bias, used, features.t())
        return torch.softmax(logits.view(len(mean), self.classes, -1), 1)
