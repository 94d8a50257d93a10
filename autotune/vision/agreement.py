"""Whether a network in parts computes what it computes as a whole, and what was found out about that before."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from autotune.checkpoint import write_atomically
from autotune.vision.freezing import Partition, train_mode

CLOSE = 1e-5
"""Largest difference in a tensor, relative to its largest value; on the CPU the same kernels run on both sides."""

LOOSE = 1e-3
"""The same on a GPU, which adds in changing order, and where batch sizes differ, for which it takes other kernels."""

ROUNDING = 1e-7
"""Largest difference relative to the largest gradient of all: some are zero but for rounding."""

Boundary = tuple[torch.Tensor, ...]


@contextlib.contextmanager
def undisturbed(module: torch.nn.Module) -> Iterator[None]:
    """Puts modes, what is trained, buffers and random numbers back as they were."""
    modes = [(child, child.training) for child in module.modules()]
    trained = [(p, p.requires_grad) for p in module.parameters()]
    buffers = [(b, b.detach().clone()) for b in module.buffers()]
    device = next(module.parameters()).device
    drawn = random.getstate()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(drawn)
        # Some networks keep what they derived from their weights until train() is called.
        module.train()
        for child, training in modes:
            child.training = training
        for parameter, wanted in trained:
            parameter.requires_grad_(wanted)
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)


def full_precision() -> contextlib.AbstractContextManager[None]:
    """Lets a GPU compute convolutions in float32, as matrix products are by default, and always by the same kernels.

    TF32 has ten bits of mantissa: what a network makes of an image then depends, in the third digit, on how many
    others there are in the batch, for which other kernels are taken.
    """
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def disagreement(
    module: torch.nn.Module,
    partition: Partition,
    prefix: Callable[[torch.Tensor], Boundary],
    suffix: Callable[..., torch.Tensor],
    images: torch.Tensor,
) -> str:
    """Where a network in two parts differs from the whole; empty where it does not.

    Compared are the logits in both modes, the gradients of everything that is trained, the statistics that training
    updates, and each image's boundary alone with that in the batch.

    Args:
        module: The network; call inside `undisturbed` and `full_precision`.
        partition: What is trained.
        prefix: From images to the boundary.
        suffix: From the boundary to logits.
        images: At least two, float [N, 3, S, S].
    """
    close = CLOSE if images.device.type == "cpu" else LOOSE
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in partition.trained)
    module.eval()
    with torch.no_grad():
        whole = module(images)
        boundary = prefix(images)
        kept = [value.clone() for value in boundary]
        if far(suffix(*boundary), whole, close):
            return "its logits in evaluation differ when it is computed in parts"
        alone = prefix(images[-1:])
    if any(far(one, value[-1:], LOOSE) for one, value in zip(alone, kept, strict=True)):
        return "what crosses of an image depends on the other images"
    train_mode(module, partition)
    expected = _trained(module, partition, lambda: module(images))
    found = _trained(module, partition, lambda: suffix(*prefix(images)))
    largest = max(float(gradient.abs().max()) for gradient in expected["gradients"])
    for what, values in expected.items():
        rounding = ROUNDING * largest if what == "gradients" else 0.0
        if any(far(one, value, close, rounding) for one, value in zip(found[what], values, strict=True)):
            return f"its {what} in training differ when it is computed in parts"
    with torch.no_grad():
        suffix(*boundary)
    if any(not torch.equal(before, after) for before, after in zip(kept, boundary, strict=True)):
        return "its trained part writes into what crosses"
    return ""


def _trained(
    module: torch.nn.Module, partition: Partition, forward: Callable[[], torch.Tensor]
) -> Mapping[str, list[torch.Tensor]]:
    """Logits, gradients and statistics of one step of training, the buffers put back."""
    before = [b.detach().clone() for b in module.buffers()]
    torch.manual_seed(0)
    random.seed(0)
    logits = forward()
    weights = torch.linspace(-1, 1, logits.numel(), device=logits.device).reshape(logits.shape)
    parameters = [p for n, p in module.named_parameters() if n in partition.trained]
    gradients = torch.autograd.grad((logits.float() * weights).sum(), parameters, allow_unused=True)
    given = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    after = [b.detach().clone() for b in module.buffers()]
    with torch.no_grad():
        for buffer, kept in zip(module.buffers(), before, strict=True):
            buffer.copy_(kept)
    return {"logits": [logits.detach()], "gradients": given, "statistics": after}


def far(found: torch.Tensor, expected: torch.Tensor, relative: float, absolute: float = 0.0) -> bool:
    """Whether tensors differ; not a number is far from everything.

    Args:
        found: [...].
        expected: [...]; another shape or type is far.
        relative: Largest difference that is none, over the largest expected value.
        absolute: What may come on top of it.
    """
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return True
    if torch.equal(found, expected):
        return False
    difference, largest = (found.double() - expected.double()).abs().max(), expected.double().abs().max()
    return not bool(difference <= relative * largest + absolute)


class Findings:
    """What was compared before, one small json file each.

    Args:
        folder: Where the files lie; None remembers nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def read(self, key: str) -> str | None:
        """What was found under a key, empty for no difference; None where nothing was."""
        if self._folder is None:
            return None
        try:
            found = json.loads((self._folder / f"{key}.json").read_text())
            return str(found["differs"])
        except (OSError, ValueError, KeyError, TypeError):
            # Absent, or cut short by a full disk: found anew.
            return None

    def write(self, key: str, differs: str, facts: Mapping[str, object]) -> None:
        """Keeps what was found."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            content = json.dumps({**facts, "differs": differs}, indent=1)
            write_atomically(self._folder / f"{key}.json", content.encode())
        except OSError:
            # A folder that cannot be written costs the comparison again, not the trial.
            return
