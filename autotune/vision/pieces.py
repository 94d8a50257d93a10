"""Working through a batch on its device: in pieces that stay in a CPU's cache, and without waiting for a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import torch

ELEMENTS = 2**18
"""Elements of a piece, 1 MiB in float32. What lies between two steps then also stays in pages that the process has:
asking the system for fresh ones took as long as the cropping itself."""
FEWEST = 4


def pieces(count: int, elements: int, device: torch.device) -> Iterator[slice]:
    """Slices that together are a batch; on a GPU one is all.

    Args:
        count: Images in the batch.
        elements: How many values of one image lie between two steps.
        device: Where it happens.
    """
    some = max(FEWEST, ELEMENTS // elements) if device.type == "cpu" else max(1, count)
    return (slice(start, start + some) for start in range(0, count, some))


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A small tensor from the CPU on another device; pinned first, because only then a GPU is not waited for."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
