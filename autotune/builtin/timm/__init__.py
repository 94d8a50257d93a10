"""Every timm classifier as a backbone, ``timm/NAME``."""

from __future__ import annotations

from collections.abc import Iterable

import autotune


@autotune.hookimpl
def autotune_backbones() -> Iterable[autotune.BackboneSourceSpec]:
    """Offers the source ``timm``."""
    return [
        autotune.BackboneSourceSpec(
            name="timm", summary="PyTorch Image Models by Ross Wightman and others", build=_build
        )
    ]


def _build() -> autotune.BackboneSource:
    # Imported here: the source needs torch, which listing the plugins must not load.
    from autotune.builtin.timm.source import TimmSource

    return TimmSource()
