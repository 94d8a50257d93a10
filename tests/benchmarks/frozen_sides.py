"""The two sides of P13, each alone in its process; prints how many images a second a frozen network looks at."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch

BATCH, PASSES = 64, 5


def autotune_side(name: str, size: int) -> Callable[[], object]:
    """What autotune computes of a batch."""
    from autotune.builtin.timm.source import TimmSource
    from autotune.vision import Cuts, Placement

    backbone = TimmSource().backbone(name)
    placement = Placement("cpu")
    module = placement.module(backbone.build(10, drop=0.0, img_size=size, load=False))
    cut = Cuts(module, backbone, img_size=size, folder=None).at(0)
    if cut is None:
        raise SystemExit(f"{name} cannot be cut beneath its head")
    images = torch.randn(BATCH, 3, size, size).to(memory_format=torch.channels_last)
    return lambda: cut.prefix(images)


def bare_side(name: str, size: int) -> Callable[[], object]:
    """The same; imports nothing of autotune."""
    import timm

    module = timm.create_model(name, num_classes=0).eval().to(memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, size, size).to(memory_format=torch.channels_last)
    return lambda: module(images)


def rate(forward: Callable[[], object]) -> float:
    """Images a second, the first pass apart."""
    with torch.inference_mode():
        forward()
        began = time.perf_counter()
        for _ in range(PASSES):
            forward()
    return BATCH * PASSES / (time.perf_counter() - began)


def main() -> None:
    """Reads the command line: side, network, size."""
    side, name, size = sys.argv[1:]
    sides = {"autotune": autotune_side, "bare": bare_side}
    print(rate(sides[side](name, int(size))))


if __name__ == "__main__":
    main()
