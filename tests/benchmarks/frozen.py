"""P13: how fast a whole frozen network looks at images on a CPU, which is what keeping activations costs once.

autotune's side is the cut beneath the head; the bare side is timm's network without a head, in channels_last and
inference mode, as one writes it by hand. Weights are random, which takes as long. Each side of each round is a process
of its own, since autotune changes how its process is given memory.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from material import Material
from measuring import Figures, Measure, Row

NETWORKS = (
    ("tf_efficientnet_lite0", 96), ("efficientnet_b0", 96), ("regnety_004", 96), ("resnet18", 96),
    ("convnext_atto", 96), ("tf_efficientnet_lite0", 224), ("resnet18", 224),
)  # fmt: skip
SIDES = Path(__file__).with_name("frozen_sides.py")


def process(side: str, name: str, size: int) -> Callable[[], Figures]:
    """One side of one network, measured in a process of its own."""

    def run() -> Figures:
        command = [sys.executable, str(SIDES), side, name, str(size)]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return {f"{side} img/s": float(ran.stdout)}

    return run


def p13(material: Material) -> Iterator[Measure]:
    """The frozen pass of some networks over the same without autotune."""
    for name, size in NETWORKS[: 1 if material.settings.quick else None]:
        yield Measure(
            sides={side: process(side, name, size) for side in ("autotune", "bare")},
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
