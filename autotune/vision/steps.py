"""The steps of a network: `autotune.vision.tracing` writes them down, `autotune.vision.slicing` runs them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch


class Untraceable(Exception):
    """The network does something that no list of steps can repeat; says what."""


@dataclass(frozen=True, slots=True)
class Ref:
    """The tensor, or the tuple of tensors, that a step gave."""

    place: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A number that depends on the batch size: `times` the size, `plus` a constant."""

    times: int
    plus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a network.

    Attributes:
        kind: ``images``, ``tensor`` (a parameter, a buffer or a constant), ``module``, ``function``, ``method``,
            ``attribute`` or ``item`` (of a tuple, list or dict that an earlier step gave).
        target: The dotted name of a module or tensor, the function, or the method's or attribute's name.
        args: Positional arguments; `Ref` where an earlier step's result goes in.
        kwargs: Named arguments.
        own: The level of the module's or tensor's block, -1 without any.
        random: Whether it drew random numbers.
        same: The step whose very tensor it gave back unchanged, e.g. a dropout that is off.
        shape: Of the tensor that it gave, None where it gave no tensor.
        changed: Whether its tensor was written to after it.
        value: A constant tensor itself.
    """

    kind: str
    target: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any]
    own: int = -1
    random: bool = False
    same: int | None = None
    shape: tuple[Any, ...] | None = None
    changed: bool = False
    value: torch.Tensor | None = None


def refs(value: Any) -> Iterator[int]:
    """The places that arguments refer to."""
    if isinstance(value, Ref):
        yield value.place
    elif isinstance(value, tuple | list):
        for part in value:
            yield from refs(part)
    elif isinstance(value, Mapping):
        yield from refs(tuple(value.values()))
    elif isinstance(value, slice):
        yield from refs((value.start, value.stop, value.step))
