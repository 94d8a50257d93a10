"""A name for frozen weights, by which what they say of images is kept."""

from __future__ import annotations

import hashlib

import torch

from autotune.backbone import Backbone
from autotune.vision.freezing import Partition


def weights_digest(backbone: Backbone, module: torch.nn.Module, partition: Partition) -> str:
    """The digest of the file of weights, else, for random ones, of the bytes of all tensors beneath the head.

    Args:
        backbone: What the network was built by.
        module: The network, with the weights that it was built with.
        partition: Says which of its tensors are the head's.
    """
    if backbone.weights is not None:
        return backbone.weights.digest
    content = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        if name not in partition.head:
            content.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()
