"""Every torchvision classifier as a backbone, ``torchvision/NAME``."""

from __future__ import annotations

from collections.abc import Iterable

import autotune


@autotune.hookimpl
def autotune_backbones() -> Iterable[autotune.BackboneSourceSpec]:
    """Offers the source ``torchvision``."""
    return [
        autotune.BackboneSourceSpec(name="torchvision", summary="the classifiers that come with PyTorch", build=_build)
    ]


def _build() -> autotune.BackboneSource:
    # Imported here: the source needs torch, which listing the plugins must not load.
    from autotune.builtin.torchvision.source import TorchvisionSource

    return TorchvisionSource()
