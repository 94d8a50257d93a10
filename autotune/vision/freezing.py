"""Part-frozen networks.

Unfreezing means parameters: setting an attribute on a module would unfreeze nothing. Frozen blocks stay in
evaluation mode, since ``requires_grad=False`` does not stop BatchNorm's running statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from autotune.backbone import Backbone

Where: TypeAlias = Literal["top", "middle", "bottom"]


@dataclass(frozen=True, slots=True)
class Partition:
    """A network's tensors by place: the head, and a range of blocks that are trained with it.

    Attributes:
        head: Names of the head's parameters and buffers.
        blocks: Names of each block's parameters and buffers, from the stem to the top.
        unfreeze: How many blocks are trained beside the head.
        above: How many frozen blocks lie above them; gradients pass through these.
    """

    head: frozenset[str]
    blocks: tuple[frozenset[str], ...]
    unfreeze: int
    above: int = 0

    @property
    def trained(self) -> frozenset[str]:
        """Names of every tensor that training may change."""
        last = len(self.blocks) - self.above
        return self.head.union(*self.blocks[last - self.unfreeze : last])

    @property
    def boundary(self) -> int:
        """How many blocks lie above the boundary beneath everything that is trained; see `autotune.vision.Cuts.at`.

        The suffix above it also holds the frozen blocks above the trained ones: what they say changes.
        """
        return self.above + self.unfreeze if self.unfreeze else 0

    def depth(self, name: str) -> int:
        """How far beneath the topmost trained block a tensor lies: -1 for the head, 0 for that block and all above."""
        if name in self.head:
            return -1
        for higher, block in enumerate(reversed(self.blocks)):
            if name in block:
                return max(0, higher - self.above)
        raise KeyError(name)


def freeze(module: torch.nn.Module, backbone: Backbone, unfreeze: int, where: Where = "top") -> Partition:
    """Freezes everything but the head and some blocks.

    Args:
        module: What `Backbone.build` returned.
        backbone: Knows the module's blocks and head.
        unfreeze: How many blocks to train, 0 for the head only.
        where: Which blocks: the topmost, the lowest, or those in the middle, with as many frozen ones beneath them as
            above, or one fewer.
    """
    heads = backbone.head(module)
    names = [n for n, _ in module.named_parameters()] + [n for n, _ in module.named_buffers()]
    head = frozenset(n for n in names if any(n == h or n.startswith(f"{h}.") for h in heads))
    blocks = tuple(frozenset(b) for b in backbone.blocks(module))
    count = min(unfreeze, len(blocks))
    rest = len(blocks) - count if count else 0
    above = {"top": 0, "middle": rest - rest // 2, "bottom": rest}[where]
    partition = Partition(head, blocks, count, above)
    require_gradients(module, partition)
    return partition


def require_gradients(module: torch.nn.Module, partition: Partition) -> None:
    """Lets the trained part have gradients, and nothing else."""
    trained = partition.trained
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in trained)


def train_mode(module: torch.nn.Module, partition: Partition, *, batch_statistics: bool = True) -> None:
    """Puts the trained part in training mode and the frozen part in evaluation mode.

    Batch normalisation keeps the statistics of the pretraining everywhere, unless `batch_statistics`: with those of
    small batches the network that the head was fitted to is another one from the first step on.

    A module without tensors, e.g. a dropout, follows its parent. The outermost module is always in training
    mode: the dropout before the head is often applied there.
    """
    trained = partition.trained
    training = {"": True}
    module.training = True
    for name, child in module.named_modules():
        if not name:
            continue
        tensors = [f"{name}.{n}" for n, _ in child.named_parameters()]
        tensors += [f"{name}.{n}" for n, _ in child.named_buffers()]
        parent = name.rpartition(".")[0]
        training[name] = all(n in trained for n in tensors) if tensors else training[parent]
        norm = isinstance(child, torch.nn.modules.batchnorm._BatchNorm)
        child.training = training[name] and (batch_statistics or not norm)
