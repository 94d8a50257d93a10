"""Gradual unfreezing: which epoch opens how many blocks. Imports no torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

GRADUAL = "gradual"
_PAIR = re.compile(r"(\d+):(\d+)")
_SLACK = 1e-6


@dataclass(frozen=True, slots=True)
class Openings:
    """How many blocks are trained from which epoch on.

    What is open is a function of the epochs done, so that a training may resume within any phase.

    Attributes:
        pairs: Epoch and number of blocks, both rising.
    """

    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, text: str, unfreeze: int) -> Openings:
        """The openings that a schedule says.

        Args:
            text: Empty opens everything at once; ``gradual`` opens one more block with each epoch (Howard and Ruder
                2018, arXiv:1801.06146); ``0:1,2:3,4:8`` are epochs and the blocks that are trained from them on.
            unfreeze: How many blocks there are to open.

        Raises:
            ValueError: Names the pair that is wrong.
        """
        if not text:
            return cls(((0, unfreeze),))
        if text == GRADUAL:
            return cls(tuple((epoch, epoch + 1) for epoch in range(unfreeze)) or ((0, 0),))
        pairs = _parsed(text)
        for epoch, blocks in pairs:
            if blocks > unfreeze:
                raise ValueError(f"'{epoch}:{blocks}' opens {blocks} blocks, but unfreeze is {unfreeze}")
        return cls(pairs)

    @property
    def most(self) -> int:
        """How many blocks are open at last."""
        return self.pairs[-1][1]

    @property
    def last(self) -> int:
        """The epoch of the last opening."""
        return self.pairs[-1][0]

    def at(self, done: float) -> int:
        """How many blocks are trained after so many epochs."""
        return max((blocks for epoch, blocks in self.pairs if epoch <= done + _SLACK), default=0)

    def until(self, done: float, end: float) -> float:
        """The epoch at which further blocks are opened after so many epochs; the end where none are."""
        return min([float(end), *(float(epoch) for epoch, _ in self.pairs if epoch > done + _SLACK)])


def check_openings(text: str) -> None:
    """Checks how a schedule is written.

    Raises:
        ValueError: Names the pair that is wrong.
    """
    if text and text != GRADUAL:
        _parsed(text)


def at_most(text: str, unfreeze: int) -> str:
    """A schedule without the blocks that there are not: a number that is too large becomes `unfreeze`."""
    if not text or text == GRADUAL:
        return text
    kept: list[tuple[int, int]] = []
    for epoch, blocks in _parsed(text):
        if not kept or min(blocks, unfreeze) > kept[-1][1]:
            kept.append((epoch, min(blocks, unfreeze)))
    return ",".join(f"{epoch}:{blocks}" for epoch, blocks in kept)


def _parsed(text: str) -> tuple[tuple[int, int], ...]:
    pairs: list[tuple[int, int]] = []
    before, most = -1, -math.inf
    for part in text.split(","):
        match = _PAIR.fullmatch(part.strip())
        if match is None:
            raise ValueError(
                f"{part.strip()!r} is no EPOCH:BLOCKS; write pairs such as '0:1,2:3,4:8', '{GRADUAL}', or nothing"
            )
        epoch, blocks = int(match[1]), int(match[2])
        if epoch <= before:
            raise ValueError(f"{part.strip()!r} comes at or before the epoch of the pair before it; epochs must rise")
        if blocks <= most:
            raise ValueError(f"{part.strip()!r} opens no more blocks than the pair before it; blocks must rise")
        pairs.append((epoch, blocks))
        before, most = epoch, blocks
    return tuple(pairs)
