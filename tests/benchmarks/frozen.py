"""P13: how fast a whole frozen network looks at images on a CPU, which is what keeping activations costs once.

autotune's side is the cut beneath the head; the bare side is timm's network without a head, in channels_last and
inference mode, as one writes it by hand. Weights are random, which takes as long. Each side of each round is a process
of its own, since autotune changes how its process is given memory:

    python frozen.py autotune tf_efficientnet_lite0 96    # images a second
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from material import Material
from measuring import Figures, Measure, Row

NETWORKS = (
    ("tf_efficientnet_lite0", 96), ("efficientnet_b0", 96), ("regnety_004", 96), ("resnet18", 96),
    ("convnext_atto", 96), ("tf_efficientnet_lite0", 224), ("resnet18", 224),
)  # fmt: skip
BATCH, PASSES = 64, 5


def autotune_side(name: str, size: int) -> Callable[[], object]:
    """What autotune computes of a batch."""
    import torch

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
    """The same without autotune."""
    import timm
    import torch

    module = timm.create_model(name, num_classes=0).eval().to(memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, size, size).to(memory_format=torch.channels_last)
    return lambda: module(images)


def rate(forward: Callable[[], object]) -> float:
    """Images a second, the first pass apart."""
    import torch

    with torch.inference_mode():
        forward()
        began = time.perf_counter()
        for _ in range(PASSES):
            forward()
    return BATCH * PASSES / (time.perf_counter() - began)


def process(side: str, name: str, size: int) -> Callable[[], Figures]:
    """One side of one network, measured in a process of its own."""

    def run() -> Figures:
        command = [sys.executable, __file__, side, name, str(size)]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return {f"{side} img/s": float(ran.stdout)}

    return run


def p13(material: Material) -> Iterator[Measure]:
    """The frozen pass of some networks over the same without autotune."""
    for name, size in NETWORKS[: 1 if material.settings.quick else None]:
        yield Measure(
            sides={side: process(side, name, size) for side in SIDES},
            bare=("bare",),
            warmups=0,
            rows=[
                Row(
                    name=f"P13 {name}, {size} px",
                    title="pass of a whole frozen network: autotune / bare",
                    value=lambda f: f["autotune img/s"] / f["bare img/s"],
                    figures=("autotune img/s", "bare img/s"),
                )
            ],
        )


SIDES = {"autotune": autotune_side, "bare": bare_side}

if __name__ == "__main__":
    print(rate(SIDES[sys.argv[1]](sys.argv[2], int(sys.argv[3]))))
