"""New heads, heads that are kept because somebody trained them for these classes already, and heads by themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autotune.backbone import Backbone
from autotune.vision.cuts import Cut
from autotune.vision.device import Placement


def knows_some(backbone: Backbone, classes: Sequence[str]) -> bool:
    """Whether the head that comes with the weights may know some of these classes."""
    weights = backbone.weights
    return weights is not None and (weights.classes is None or bool(set(weights.classes) & set(classes)))


def build_module(
    backbone: Backbone,
    classes: Sequence[str],
    *,
    drop: float = 0.0,
    drop_path: float = 0.0,
    img_size: int | None = None,
    keep_head: bool = False,
) -> torch.nn.Module:
    """Builds a network with a head for these classes.

    With `keep_head` the rows of classes that the weights' head knows are kept; the others are new. A head whose
    classes nobody wrote down is kept whole where it has the right number of them, taken to be in sorted order.
    """
    shape = {"drop": drop, "drop_path": drop_path, "img_size": img_size}
    known = backbone.weights.classes if backbone.weights else None
    if not keep_head or not knows_some(backbone, classes):
        return backbone.build(len(classes), **shape)  # type: ignore[arg-type]
    if known is None or tuple(known) == tuple(classes):
        return backbone.build(len(classes), keep_head=True, **shape)  # type: ignore[arg-type]
    module: torch.nn.Module = backbone.build(len(classes), **shape)  # type: ignore[arg-type]
    donor: torch.nn.Module = backbone.build(len(known), keep_head=True, **shape)  # type: ignore[arg-type]
    rows = [(new, known.index(label)) for new, label in enumerate(classes) if label in known]
    with torch.no_grad():
        for name in backbone.head(module):
            old = dict(donor.get_submodule(name).named_parameters())
            for key, parameter in module.get_submodule(name).named_parameters():
                if parameter.shape[0] == len(classes) and old[key].shape[1:] == parameter.shape[1:]:
                    for new, source in rows:
                        parameter[new].copy_(old[key][source])
    return module


def linear_head(
    module: torch.nn.Module, backbone: Backbone, cut: Cut | None, placement: Placement, img_size: int
) -> torch.nn.Linear | None:
    """The head of a network where it is one linear layer on one vector an image; else None.

    Args:
        module: What `Backbone.build` returned; left in evaluation mode.
        backbone: Knows the module's head.
        cut: Beneath the head; None is no such head.
        placement: Where the module is.
        img_size: Side of the images in pixels.
    """
    names = backbone.head(module)
    head = module.get_submodule(names[0])
    if cut is None or len(names) > 1 or len(cut.crossing) > 1 or not isinstance(head, torch.nn.Linear):
        return None
    images = torch.rand(2, 3, img_size, img_size, generator=torch.Generator().manual_seed(0))
    module.eval()
    with torch.no_grad():
        # Not fused: that takes longer than two images, and where all is kept nothing else asks for it.
        (vectors,) = cut.unfused(placement.tensor(images))
        if vectors.shape != (2, head.in_features):
            return None
        same = torch.allclose(cut.suffix(vectors), head(vectors), rtol=1e-4, atol=1e-5)
    return head if same else None
