"""The facts of one torchvision architecture, found by building it on the meta device."""

from __future__ import annotations

from typing import Any

import torchvision

from autotune import Facts
from autotune.vision.networks import blocks_by_structure, class_heads
from autotune.vision.probing import WeightsOnMeta, multiply_accumulates, output_shape, size_rule
from autotune.vision.surveys import Survey

FLAGS = {"aux_logits": False, "init_weights": True}
"""Without auxiliary heads; the initial weights drawn as the papers say. Only GoogLeNet and Inception ask."""

AUXILIARY_HEADS = ("googlenet", "inception_v3")
CLASSES = (5, 7)
HALF = (0.5, 0.5, 0.5)
"""What the two networks with auxiliary heads, ported from TensorFlow, want. torchvision rescales their inputs inside
the network, we do where inputs are made."""


def create(name: str, classes: int, **options: Any) -> Any:
    """Builds a torchvision network without auxiliary heads.

    Args:
        name: The architecture.
        classes: Number of classes.
        options: Keyword arguments of the architecture's class.
    """
    flags = FLAGS if name in AUXILIARY_HEADS else {}
    return torchvision.models.get_model(name, weights=None, num_classes=classes, **flags, **options)


def create_empty(name: str, classes: int, **options: Any) -> Any:
    """Builds a torchvision network on the meta device, in evaluation mode; nothing is computed."""
    with WeightsOnMeta():
        return create(name, classes, **options).to("meta").eval()


def published(name: str) -> Any:
    """The entry of torchvision's best weights for an architecture."""
    return torchvision.models.get_model_weights(name).DEFAULT


def survey(name: str) -> Survey:
    """Finds the facts of an architecture, about a second each."""
    entry = published(name)
    view = entry.transforms()
    input_size = view.crop_size[0]
    one = create_empty(name, CLASSES[0])
    head = class_heads(one, create_empty(name, CLASSES[1]))
    rule = size_rule(lambda size: output_shape(one, size), input_size)
    resizes = rule.sizes == "fixed" and hasattr(one, "image_size")
    if resizes:
        # Vision transformers: another size is another network, their position embeddings are interpolated.
        rule = size_rule(
            lambda size: output_shape(create_empty(name, CLASSES[0], image_size=size), size), input_size, one.patch_size
        )
    measured = create_empty(name, CLASSES[0], image_size=input_size) if resizes else one
    scaled = name in AUXILIARY_HEADS
    facts = Facts(
        name=f"torchvision/{name}",
        params=entry.meta["num_params"],
        blocks=len(blocks_by_structure(one, head)),
        input_size=input_size,
        sizes=rule.sizes,
        size_step=rule.step,
        min_size=rule.smallest,
        mean=HALF if scaled else tuple(view.mean),
        std=HALF if scaled else tuple(view.std),
        interpolation="bilinear" if view.interpolation.value == "bilinear" else "bicubic",
        crop_pct=min(1.0, input_size / view.resize_size[0]),
        licence="cc-by-nc-4.0" if "SWAG" in entry.name else "bsd-3-clause",
        cost=multiply_accumulates(measured, input_size),
    )
    return Survey(facts=facts, head=head, resizes=resizes)
