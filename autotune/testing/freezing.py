"""A few training steps of a part-frozen network, and what it may change. Running it imports torch."""

from __future__ import annotations

from typing import Any

from autotune.backbone import Backbone
from autotune.testing.contract import promise

STEPS = 2
"""A head that starts at zero lets no gradient through before it has moved."""


def check_frozen_step(backbone: Backbone, *, img_size: int | None = None, classes: int = 3) -> None:
    """Trains the head and the topmost block for two steps: these move, and nothing else does, by not a single bit.

    Args:
        backbone: The backbone; without weights, the network starts at random.
        img_size: Side of the images in pixels; the default is the backbone's own.
        classes: Number of classes of the new head.
    """
    import torch

    from autotune.vision import freeze, train_mode

    size = backbone.facts.input_size if img_size is None else img_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = backbone.build(classes, drop=0.1, drop_path=0.1, img_size=size)
        images = torch.randn(2, 3, size, size)
        parts = freeze(module, backbone, 1)
        known = dict(module.named_parameters()) | dict(module.named_buffers())
        listed = [name for group in (parts.head, *parts.blocks) for name in group]
        promise(
            sorted(listed) == sorted(known) and len(parts.blocks) == backbone.facts.blocks,
            f"{backbone.name}: blocks and head do not name every tensor once",
        )
        before = {name: tensor.detach().clone() for name, tensor in known.items()}
        train_mode(module, parts)
        trained = [p for p in module.parameters() if p.requires_grad]
        # Adam's first step is as large as its rate however small a gradient is; plain descent may round to nothing.
        optimizer = torch.optim.Adam(trained, lr=0.01, eps=1e-30)
        for _ in range(STEPS):
            logits = module(images)
            promise(
                isinstance(logits, torch.Tensor) and tuple(logits.shape) == (2, classes),
                f"{backbone.name}: training gives {_shape(logits)}, not (2, {classes})",
            )
            loss: Any = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        module.eval()
        with torch.no_grad():
            promise(
                tuple(module(images).shape) == (2, classes),
                f"{backbone.name}: evaluation gives logits of another shape than training",
            )
    moved = {name for name, tensor in known.items() if not torch.equal(before[name], tensor.detach())}
    stray = sorted(moved - parts.trained)
    promise(not stray, f"{backbone.name}: frozen, and moved: {stray[:3]}")
    for place, names in (("head", parts.head), ("topmost block", parts.blocks[-1])):
        # Most and not all: what a softmax cancels, or a path that stochastic depth left out twice, stays.
        still = sorted(n for n, _ in module.named_parameters() if n in names and n not in moved)
        promise(
            len(still) < len(names) / 2,
            f"{backbone.name}: in its {place}, which was trained, {still[:3]} did not move",
        )


def _shape(logits: Any) -> Any:
    return tuple(logits.shape) if hasattr(logits, "shape") else type(logits).__name__
