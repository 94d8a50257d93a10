"""What it costs to keep what a frozen network says of images, and what it saves.

The answer decides on storage only: a training is the same with and without.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from autotune.vision.cuts import Cut, Cuts
from autotune.vision.device import Placement

WRITE, READ, READ_FROM_DISK = 250e6, 1.5e9, 150e6
"""Bytes a second that are assumed: written and synchronised, read again from memory, read from a busy disk."""

SMALL = 64e6
"""Bytes that are always kept: no timing decides on what costs next to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One depth at which a network can be cut.

    Attributes:
        cut: The cut.
        seconds: To compute one image's boundary from that of the rung before, or from the image where the rung before
            does not suffice.
        nbytes: Size of one image's boundary.
    """

    cut: Cut
    seconds: float
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Whether activations are kept, and why, in a line for a person."""

    keep: bool
    reason: str


def measure(cuts: Cuts, placement: Placement, images: torch.Tensor, depths: Sequence[int]) -> list[Rung]:
    """Times the way from the images down to the last of some depths, rung by rung.

    Args:
        cuts: Where the network can be cut.
        placement: Where it is.
        images: A few normalised images float32 [N, 3, S, S] on the device.
        depths: Numbers of unfrozen blocks, falling; those without a cut are left out.
    """
    rungs: list[Rung] = []
    values: tuple[torch.Tensor, ...] = (images,)
    for depth in depths:
        cut = cuts.at(depth)
        if cut is None:
            continue
        way = cuts.between(rungs[-1].cut, cut) if rungs else None
        if way is None:
            way, values = cut.prefix, (images,)
        with torch.inference_mode(), placement.autocast():
            way(*values)
            began = _now(placement)
            values = way(*values)
            taken = _now(placement) - began
        nbytes = sum(tensor.nbytes for tensor in values) // len(images)
        rungs.append(Rung(cut=cut, seconds=taken / len(images), nbytes=nbytes))
    return rungs


def worth_keeping(*, seconds: float, nbytes: int, images: int, passes: float) -> Keeping:
    """Whether keeping a side's activations at one boundary is quicker than computing them in every pass.

    Args:
        seconds: To compute one image's.
        nbytes: Of one image's.
        images: In the side, times the views of each that are kept.
        passes: How often each of them is needed.
    """
    total = images * nbytes
    again = passes * images * seconds
    read = READ if total < _memory() / 2 else READ_FROM_DISK
    kept = images * seconds + total / WRITE + passes * total / read
    size = f"{total / 1e6:,.0f} MB" if total < 1e9 else f"{total / 1e9:,.1f} GB"
    if total < SMALL or kept < again:
        return Keeping(keep=True, reason=f"activations kept ({size}): about {kept:.0f} s instead of {again:.0f} s")
    return Keeping(
        keep=False, reason=f"activations computed anew ({again:.0f} s): keeping {size} would take {kept:.0f} s"
    )


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _now(placement: Placement) -> float:
    """Seconds, once the device has done what it was given."""
    if placement.is_cuda:
        torch.cuda.synchronize(placement.device)
    return time.perf_counter()
