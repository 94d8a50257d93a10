"""A network cut beneath its trained blocks, held against the whole. Running it imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune.backbone import Backbone
from autotune.testing.contract import ContractError, promise

if TYPE_CHECKING:
    from autotune.vision import Cut

IMAGES = 5
CLOSE = 1e-5
"""Largest difference in a tensor, relative to its largest value."""

FUSED = 1e-4
"""The same for what crosses, where batch normalisation is fused into convolutions."""

ROUNDING = 1e-7
"""Largest difference relative to the largest of all gradients: some are zero but for rounding."""


def check_cut(
    backbone: Backbone, unfreeze: int, *, img_size: int | None = None, classes: int = 3, drop: float = 0.1
) -> Cut:
    """Computes as a whole and in two parts: logits and gradients are the same, and a step moves nothing frozen.

    They are compared above a frozen part that takes the network's own operations. Where quicker ones take their place,
    what crosses is the same but for more of rounding.

    Args:
        backbone: The backbone; without weights, the network starts at random.
        unfreeze: How many blocks to train beside the head.
        img_size: Side of the images in pixels; the default is the backbone's own.
        classes: Number of classes of the new head.
        drop: Rate of dropout and of stochastic depth.

    Returns:
        The cut.
    """
    import torch

    from autotune.vision import Cuts, freeze, train_mode

    size = backbone.facts.input_size if img_size is None else img_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = backbone.build(classes, drop=drop, drop_path=drop, img_size=size)
        images = torch.randn(IMAGES, 3, size, size)
        cuts = Cuts(module, backbone, img_size=size, folder=None)
        cut = cuts.at(unfreeze)
        if cut is None:
            raise ContractError(cuts.why_not(unfreeze))
        parts = freeze(module, backbone, unfreeze)
        module.eval()
        with torch.no_grad():
            crossing = cut.unfused(images)
            _promise_same(f"{backbone.name}: logits in evaluation", cut.suffix(*crossing), module(images))
            for name, fused, own in zip(cut.crossing, cut.prefix(images), crossing, strict=True):
                _promise_same(f"{backbone.name}: what crosses after {name}, fused", fused, own, close=FUSED)
        train_mode(module, parts)
        known = dict(module.named_parameters()) | dict(module.named_buffers())
        state = {name: tensor.detach().clone() for name, tensor in known.items()}
        seen = []
        for forward in (module, lambda inputs: cut.suffix(*cut.unfused(inputs))):
            with torch.no_grad():
                for name, tensor in known.items():
                    tensor.copy_(state[name])
            module.zero_grad()
            torch.manual_seed(1)
            logits: Any = forward(images)
            loss: Any = torch.nn.functional.cross_entropy(logits, torch.arange(IMAGES) % classes)
            loss.backward()
            gradients = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
            statistics = {n: b.clone() for n, b in module.named_buffers()}
            seen.append((logits.detach(), gradients, statistics))
        (whole, expected, kept), (logits, found, updated) = seen
        _promise_same(f"{backbone.name}: logits in training", logits, whole)
        promise(found.keys() == expected.keys(), f"{backbone.name}: other tensors get gradients when it is cut")
        largest = max(float(gradient.abs().max()) for gradient in expected.values())
        for name, gradient in expected.items():
            _promise_same(f"{backbone.name}: the gradient of {name}", found[name], gradient, ROUNDING * largest)
        for name, buffer in kept.items():
            _promise_same(f"{backbone.name}: {name}", updated[name], buffer)
        trained = [p for p in module.parameters() if p.requires_grad]
        torch.optim.SGD(trained, lr=0.1, weight_decay=0.1).step()
    moved = {name for name, tensor in known.items() if not torch.equal(state[name], tensor.detach())}
    stray = sorted(moved - parts.trained)
    promise(not stray and bool(moved), f"{backbone.name}: frozen, and moved by a step in parts: {stray[:3]}")
    return cut


def _promise_same(what: str, found: Any, expected: Any, rounding: float = 0.0, close: float = CLOSE) -> None:
    promise(
        found.shape == expected.shape and found.dtype == expected.dtype,
        f"{what}: {tuple(found.shape)} when it is computed in parts, {tuple(expected.shape)} as a whole",
    )
    # Some buffers hold infinities.
    if not expected.equal(found):
        far = float((found.double() - expected.double()).abs().max())
        largest = float(expected.double().abs().max())
        promise(far <= close * largest + rounding, f"{what}: differs by {far:.1e} when it is computed in parts")
