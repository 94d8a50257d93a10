"""What sizes a network accepts and what it costs, found on the meta device, where nothing is computed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

SMALLEST = 32
STEPS = (1, 2, 4, 7, 8, 14, 16, 28, 32, 48, 56, 64, 96, 112, 128, 192, 224)


@dataclass(frozen=True, slots=True)
class SizeRule:
    """How a network takes image sizes; see `autotune.Facts`."""

    sizes: str
    step: int
    smallest: int


class WeightsOnMeta(TorchFunctionMode):
    """Places what weights are made of on the meta device, and leaves the arithmetic of builders where it is.

    torchvision's RegNet computes its widths with tensors, which ``torch.device("meta")`` would empty.
    """

    MAKERS = (torch.empty, torch.zeros, torch.ones)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls a function, on the meta device if it makes a tensor of a given size."""
        named = dict(kwargs or {})
        if func in self.MAKERS and named.get("device") is None:
            named["device"] = "meta"
        return func(*args, **named)


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
    """Multiply-accumulates of one image's forward pass, in units of 1e9.

    Args:
        module: The network on the meta device; it is left in evaluation mode, all parameters frozen.
        img_size: Side of the image in pixels.
    """
    module.eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        output_shape(module, img_size)
    return round(int(counter.get_total_flops()) / 4e9, 4)


def size_rule(shape_at: Callable[[int], tuple[int, ...]], input_size: int, unit: int = 1) -> SizeRule:
    """Finds which image sizes a network accepts by asking for some of them.

    The step is the smallest of `STEPS` of which near and far multiples are accepted; the smallest size is found by
    bisection, and no less than 32 px is asked for.

    Args:
        shape_at: The shape of the output for a side in pixels, or an error where the side is refused.
        input_size: The side that the network was pretrained with.
        unit: What the step has to be a multiple of, e.g. the side of a patch: further pixels would be cut away.
    """
    wanted = _shape_or_none(shape_at, input_size)

    def accepts(size: int) -> bool:
        return wanted is not None and _shape_or_none(shape_at, size) == wanted

    for step in STEPS:
        if step % unit:
            continue
        if input_size % step or not all(accepts(size) for size in _probes(input_size, step)):
            continue
        smallest = _smallest(accepts, step, input_size)
        if all(accepts(smallest + k * step) for k in (1, 2) if smallest + k * step < input_size):
            return SizeRule("any" if step == 1 else "multiple", step, smallest)
    return SizeRule("fixed", 1, input_size)


def _probes(input_size: int, step: int) -> list[int]:
    """Multiples of a step: neighbours, and sizes far enough to leave the same grid of patches."""
    near = [input_size - step, input_size + 3 * step]
    far = [round(input_size * share / step) * step + step for share in (0.6, 1.4)]
    return [size for size in (*near, *far) if size >= SMALLEST]


def _smallest(accepts: Callable[[int], bool], step: int, input_size: int) -> int:
    low, high = -(-SMALLEST // step), input_size // step
    if low >= high or accepts(low * step):
        return min(low, high) * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if accepts(middle * step) else (middle, high)
    return high * step


def _shape_or_none(shape_at: Callable[[int], tuple[int, ...]], size: int) -> tuple[int, ...] | None:
    """The output's shape, or None where a size is refused.

    Networks refuse in any way they like, e.g. by an AssertionError or a RuntimeError about shapes: whatever they
    raise is the answer no.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return shape_at(size)
        except Exception:
            return None
