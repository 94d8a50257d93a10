"""Activations that lie on a GPU beside the cache, as long as nothing else needs the memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch

from autotune.vision.arrays import Arrays
from autotune.vision.device import Placement
from autotune.vision.mixing import Inputs

SHARE = 1 / 4
"""Share of a GPU's memory, free but for them, that all activations of a trial may take there."""


class Held:
    """One side's activations in one view; gone with this object.

    Attributes:
        tensors: As `Arrays.tensors`, on the GPU; empty where they are read from the cache.
    """

    def __init__(self, tensors: Inputs = ()) -> None:
        self.tensors = tensors


class Residents:
    """What a trial holds on a GPU.

    Args:
        placement: Where the network is.
        note: Keeps a line with the trial.
    """

    def __init__(self, placement: Placement, note: Callable[[str], None]) -> None:
        self.placement, self.note = placement, note
        self._all: weakref.WeakSet[Held] = weakref.WeakSet()
        self._over = not placement.is_cuda

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return sum(tensor.nbytes for held in self._all for tensor in held.tensors)

    def hold(self, arrays: Arrays) -> Held:
        """Activations on the GPU, where there is room for all of them and their files do not change meanwhile."""
        if self._over or not has_room(arrays.nbytes, self.nbytes, self.placement.free_memory):
            return Held()
        held = Held(tuple(self.placement.tensor(tensor) for tensor in arrays.tensors))
        if self.placement.is_cuda:
            torch.cuda.synchronize(self.placement.device)  # only what was copied by now is vouched for
        if not arrays.intact():
            return Held()
        self._all.add(held)
        return held

    def give_way(self) -> bool:
        """Holds nothing from here on; returns whether memory is free now that was held."""
        nbytes, self._over = self.nbytes, True
        for held in self._all:
            held.tensors = ()
        if nbytes:
            self.note(f"memory ran out: activations are no longer held on {self.placement.device}")
        return nbytes > 0


def has_room(nbytes: int, held: int, free: int) -> bool:
    """Whether a GPU takes further activations.

    Args:
        nbytes: Theirs.
        held: Of those that lie there.
        free: Of its memory that nobody uses.
    """
    return held + nbytes <= SHARE * (held + free)
