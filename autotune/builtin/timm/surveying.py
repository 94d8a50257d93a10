"""The facts of one timm architecture, found by building it on the meta device."""

from __future__ import annotations

import re
import warnings
from typing import Any

import timm
import torch

from autotune import Facts
from autotune.builtin.timm.blocks import blocks_of
from autotune.vision.networks import class_heads, outermost
from autotune.vision.probing import SizeRule, multiply_accumulates, output_shape, size_rule
from autotune.vision.surveys import Survey

OPTIONS = {"drop_rate": 0.0, "drop_path_rate": 0.0}
CLASSES = (5, 7)


def create(name: str, device: str = "cpu", /, **options: Any) -> Any:
    """Builds a timm network without its warnings about deprecated internals.

    Args:
        name: The architecture, with or without a tag.
        device: ``meta`` computes nothing.
        options: Keyword arguments of timm's own builder.

    Returns:
        The module; timm's own attributes, which its type does not name, make it ``Any``.
    """
    with warnings.catch_warnings(), torch.device(device):
        warnings.simplefilter("ignore")
        return timm.create_model(name, **options)


def survey(name: str) -> Survey:
    """Finds the facts of an architecture, about two seconds each.

    Args:
        name: The architecture, with or without a tag.
    """
    original = create(name, "meta").eval()
    published = original.pretrained_cfg
    one, options = _with_options(name)
    other = create(name, "meta", num_classes=CLASSES[1])
    head = outermost([*_classifiers(one), *class_heads(one, other)])
    input_size = min(published["input_size"][1:])
    rule, resizes = _sizes(name, original, one.eval(), input_size)
    measured = create(name, "meta", img_size=input_size).eval() if resizes else one
    facts = Facts(
        name=f"timm/{name}",
        params=sum(p.numel() for p in original.parameters()),
        blocks=len(blocks_of(one, head)),
        input_size=input_size,
        sizes=rule.sizes,
        size_step=rule.step,
        min_size=rule.smallest,
        mean=tuple(published["mean"]),
        std=tuple(published["std"]),
        interpolation="bilinear" if published["interpolation"] == "bilinear" else "bicubic",
        crop_pct=float(published["crop_pct"]),
        licence=published.get("license"),
        cost=multiply_accumulates(measured, input_size),
    )
    return Survey(facts=facts, options=options, head=head, resizes=resizes)


def _classifiers(module: Any) -> list[str]:
    """Names of what timm calls the classifier; distilled networks have two."""
    given = module.get_classifier()
    wanted = given if isinstance(given, tuple | list) else (given,)
    return [name for name, child in module.named_modules() if any(child is w for w in wanted)]


def _with_options(name: str) -> tuple[Any, tuple[str, ...]]:
    """The network with as many of the optional arguments as it takes, and their names."""
    options = dict(OPTIONS)
    while True:
        try:
            return create(name, "meta", num_classes=CLASSES[0], **options), tuple(options)
        except TypeError as error:
            refused = re.search(r"argument(?:\(s\):)? \[?'(\w+)'", str(error))
            if not refused or refused[1] not in options:
                raise
            del options[refused[1]]


def _patch(module: Any) -> int:
    """The side of the patches that the network cuts images into, or 1."""
    side = getattr(getattr(module, "patch_embed", None), "patch_size", 1)
    return int(side[0] if isinstance(side, tuple | list) else side)


def _sizes(name: str, original: Any, one: Any, input_size: int) -> tuple[SizeRule, bool]:
    """How sizes are met: by the network as it stands, else by building it anew with ``img_size``."""
    rule = size_rule(lambda size: output_shape(one, size), input_size)
    if rule.sizes != "fixed":
        return rule, False
    tensors = original.state_dict()

    def rebuilt(size: int) -> tuple[int, ...]:
        # The published state has to load too: its position embeddings are resampled by timm's own filters.
        source = {"state_dict": tensors, "num_classes": original.num_classes, "label_offset": 0}
        module = create(name, "meta", img_size=size, pretrained=True, pretrained_cfg_overlay=source)
        if not original.num_classes:
            module = create(name, "meta", img_size=size, num_classes=CLASSES[0])
        return output_shape(module.eval(), size)

    rule = size_rule(rebuilt, input_size, _patch(original))
    return rule, rule.sizes != "fixed"
