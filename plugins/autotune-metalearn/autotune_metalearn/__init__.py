"""First-order meta-learning over many small tasks, whose result is a backbone for tasks of a few images a class.

Public names are loaded when they are first used: everything but the hook below imports torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import autotune

if TYPE_CHECKING:
    from autotune_metalearn.comparing import Comparison as Comparison, compare as compare
    from autotune_metalearn.learning import Learned as Learned, learn as learn
    from autotune_metalearn.render_characters import Rendered as Rendered, render as render
    from autotune_metalearn.settings import Settings as Settings

_HOMES = {
    "Comparison": "comparing",
    "compare": "comparing",
    "Learned": "learning",
    "learn": "learning",
    "Rendered": "render_characters",
    "render": "render_characters",
    "Settings": "settings",
}

__all__ = ["autotune_backbones", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"autotune_metalearn.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'autotune_metalearn' has no attribute {name!r}")


@autotune.hookimpl
def autotune_backbones() -> Iterable[autotune.BackboneSourceSpec]:
    """Offers ``metalearn/WIDTH/SOURCE/NAME``: a network with a linear projection beneath its head."""
    return [
        autotune.BackboneSourceSpec(
            name="metalearn",
            summary="networks with a projection beneath the head, which `autotune metalearn --method anil` learns",
            build=_source,
        )
    ]


def _source() -> autotune.BackboneSource:
    # Imported here: the source needs torch, which listing the plugins must not load.
    from autotune_metalearn.projected import ProjectedSource

    return ProjectedSource()
