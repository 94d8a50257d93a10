"""Part-frozen networks.

Unfreezing means parameters: setting an attribute on a module would unfreeze nothing. Frozen blocks stay in
evaluation mode, since ``requires_grad=False`` does not stop BatchNorm's running statistics.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autotune.backbone import Backbone


@dataclass(frozen=True, slots=True)
class Partition:
    """A network's tensors by place.

    Attributes:
        head: Names of the head's parameters and buffers.
        blocks: Names of each block's parameters and buffers, from the stem to the top.
        unfreeze: How many blocks, counted from the top, are trained beside the head.
    """

    head: frozenset[str]
    blocks: tuple[frozenset[str], ...]
    unfreeze: int

    @property
    def trained(self) -> frozenset[str]:
        """Names of every tensor that training may change."""
        first = len(self.blocks) - self.unfreeze
        return self.head.union(*self.blocks[first:])

    def depth(self, name: str) -> int:
        """How many blocks lie above a tensor's own, the head above all of them: -1 for the head, 0 for the top."""
        if name in self.head:
            return -1
        for above, block in enumerate(reversed(self.blocks)):
            if name in block:
                return above
        raise KeyError(name)


def freeze(module: torch.nn.Module, backbone: Backbone, unfreeze: int) -> Partition:
    """Freezes everything but the head and the topmost blocks.

    Args:
        module: What `Backbone.build` returned.
        backbone: Knows the module's blocks and head.
        unfreeze: How many blocks to train, 0 for the head only.
    """
    heads = backbone.head(module)
    names = [n for n, _ in module.named_parameters()] + [n for n, _ in module.named_buffers()]
    head = frozenset(n for n in names if any(n == h or n.startswith(f"{h}.") for h in heads))
    blocks = tuple(frozenset(b) for b in backbone.blocks(module))
    partition = Partition(head, blocks, min(unfreeze, len(blocks)))
    trained = partition.trained
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in trained)
    return partition


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
