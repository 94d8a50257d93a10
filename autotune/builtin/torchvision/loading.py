"""Reads weights into a torchvision network."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torchvision.models.vision_transformer import interpolate_embeddings

from autotune.vision.networks import lies_within
from autotune.vision.tensorfiles import differences, misfit, read_tensors, shapes_of

AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
POSITIONS = "encoder.pos_embedding"
COUNTER = ".num_batches_tracked"


def load_weights(module: Any, backbone: str, path: Path, head: Sequence[str], *, keep_head: bool) -> None:
    """Loads a file into a network: all but the head, and the head too if it is wanted and of this size.

    Auxiliary heads in the file are left out, position embeddings of another image size are interpolated.

    Args:
        module: The network.
        backbone: ``torchvision/NAME``, for messages.
        path: The file; no code in it is run.
        head: Names of the submodules that make up the head.
        keep_head: Keep the head of the file when it has the network's number of classes.

    Raises:
        CheckpointError: The file cannot be read or does not fit; names the first differing tensors.
    """
    given = read_tensors(path)
    versions = getattr(given, "_metadata", None)
    own = module.state_dict()
    tensors = OrderedDict((_modern(n), t) for n, t in given.items() if not n.startswith(AUXILIARY))
    if POSITIONS in tensors and POSITIONS in own:
        tensors = interpolate_embeddings(module.image_size, module.patch_size, tensors)
    for name, tensor in own.items():
        if name.endswith(COUNTER):
            # Files from before torch 0.4.1 have none; it counts nothing that matters at a fixed momentum.
            tensors.setdefault(name, tensor)
    kept = keep_head and all(
        n in tensors and tensors[n].shape == t.shape for n, t in own.items() if lies_within(n, head)
    )
    if not kept:
        tensors = OrderedDict((n, t) for n, t in tensors.items() if not lies_within(n, head))
        tensors.update((n, t) for n, t in own.items() if lies_within(n, head))
    reasons = differences(backbone, shapes_of(tensors), shapes_of(own))
    if reasons:
        raise misfit(backbone, path, reasons)
    # Modules that have changed since read older files by these versions; a plain file is of today's.
    vars(tensors)["_metadata"] = versions or own._metadata
    with torch.no_grad():
        module.load_state_dict(tensors)


def _modern(name: str) -> str:
    """DenseNet's published files name ``norm.1`` what is ``norm1``."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name)
