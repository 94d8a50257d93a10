"""What it costs to keep what a frozen network says of images, and what it saves.

The answer decides on storage only: a training is the same with and without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from autotune.vision.cuts import Cut, Cuts
from autotune.vision.device import Placement
from autotune.vision.memory import memory_of_machine

WRITE, READ, READ_FROM_DISK = 250e6, 1.5e9, 150e6
"""Bytes a second that are assumed: written and synchronised, read again from memory, read from a busy disk."""

RUNGS = 8
"""Depths on the way to a boundary that are looked at, at most."""

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


def depths(blocks: int, deepest: int) -> list[int]:
    """The numbers of unfrozen blocks at which the way to a boundary is looked at, falling; every one is compared.

    Args:
        blocks: Of the network.
        deepest: Unfrozen above the boundary.
    """
    stride = -(-blocks // RUNGS)
    return [depth for depth in range(blocks - 1, deepest, -1) if depth % stride == 0] + [deepest]


def measure(
    cuts: Cuts,
    placement: Placement,
    images: torch.Tensor,
    wanted: Sequence[int],
    kept: Callable[[torch.Tensor], torch.Tensor],
) -> list[Rung]:
    """Times the way from the images down to the last of some depths, rung by rung.

    Args:
        cuts: Where the network can be cut.
        placement: Where it is.
        images: Some normalised images float32 [N, 3, S, S] on the device: as many as are computed at once on a GPU,
            a few on a CPU.
        wanted: Numbers of unfrozen blocks, falling; those without a cut are left out.
        kept: Gives a tensor the type in which it is kept.
    """
    rungs: list[Rung] = []
    values: tuple[torch.Tensor, ...] = (images,)
    for depth in wanted:
        cut = cuts.at(depth)
        if cut is None:
            continue
        way = cuts.between(rungs[-1].cut, cut) if rungs else None
        if way is None:
            way, values = cut.prefix, (images,)
        with torch.inference_mode(), placement.autocast():
            way(*values)
            began = placement.now()
            values = way(*values)
            taken = placement.now() - began
        nbytes = sum(kept(tensor).nbytes for tensor in values) // len(images)
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
    read = READ if total < memory_of_machine() / 2 else READ_FROM_DISK
    kept = images * seconds + total / WRITE + passes * total / read
    size = f"{total / 1e6:,.0f} MB" if total < 1e9 else f"{total / 1e9:,.1f} GB"
    if total < SMALL or kept < again:
        return Keeping(keep=True, reason=f"activations kept ({size}): about {kept:.0f} s instead of {again:.0f} s")
    return Keeping(
        keep=False, reason=f"activations computed anew ({again:.0f} s): keeping {size} would take {kept:.0f} s"
    )
