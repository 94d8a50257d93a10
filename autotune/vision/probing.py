"""What sizes a network accepts and what it costs, found on the meta device, where nothing is computed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

SMALLEST = 32
STEPS = (1, 2, 4, 7, 8, 14, 16, 28, 32, 48, 56, 64, 96, 112, 128, 192, 224)


@dataclass(frozen=True, slots=True)
class SizeRule:
    """How a network takes image sizes; see `autotune.Facts`."""

    sizes: str
    step: int
    smallest: int


def output_shape(module: torch.nn.Module, img_size: int) -> tuple[int, ...]:
    """The shape of the logits for two images, on the module's own device.

    Args:
        module: The network, usually on the meta device.
        img_size: Side of the images in pixels.
    """
    device = next(module.parameters()).device
    with torch.no_grad():
        logits = module(torch.empty(2, 3, img_size, img_size, device=device))
    return tuple(logits.shape)


def multiply_accumulates(module: torch.nn.Module, img_size: int) -> float:
    """Multiply-accumulates of one image's forward pass, in units of 1e9."""
    module.eval()
    with FlopCounterMode(display=False) as counter:
        output_shape(module, img_size)
    return round(counter.get_total_flops() / 4e9, 4)


def size_rule(accepts: Callable[[int], bool], input_size: int) -> SizeRule:
    """Finds which image sizes a network accepts by asking for some of them.

    The step is the smallest of `STEPS` of which the neighbouring multiples are accepted; the smallest size is found
    by bisection, and no less than 32 px is asked for.

    Args:
        accepts: Whether a side in pixels is accepted.
        input_size: The side that the network was pretrained with.
    """
    for step in STEPS:
        near = [input_size - step, input_size + step, input_size + 3 * step]
        if input_size % step or not all(accepts(size) for size in near):
            continue
        smallest = _smallest(accepts, step, input_size)
        if all(accepts(smallest + k * step) for k in (1, 2) if smallest + k * step < input_size):
            return SizeRule("any" if step == 1 else "multiple", step, smallest)
    return SizeRule("fixed", 1, input_size)


def _smallest(accepts: Callable[[int], bool], step: int, input_size: int) -> int:
    low, high = -(-SMALLEST // step), input_size // step
    if low >= high or accepts(low * step):
        return min(low, high) * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if accepts(middle * step) else (middle, high)
    return high * step


def survives(check: Callable[[], tuple[int, ...]], wanted: tuple[int, ...]) -> bool:
    """Whether a forward pass gives the wanted shape.

    Networks refuse a size in any way they like, e.g. by an AssertionError or a RuntimeError about shapes: whatever
    they raise is the answer no.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return check() == wanted
        except Exception:
            return False
