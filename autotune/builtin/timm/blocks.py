"""The blocks of a timm network: the coarse groups that its architecture describes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from timm.models import group_parameters

from autotune.vision.networks import Blocks, blocks_by_group, blocks_by_structure, tensor_names


class _Tensors:
    """A network's tensors under the one method that timm's grouping asks, so that buffers are grouped too."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._names = tensor_names(module)

    def named_parameters(self) -> Iterator[tuple[str, None]]:
        return ((name, None) for name in self._names)


def blocks_of(module: Any, head: Sequence[str]) -> Blocks:
    """Names of the parameters and buffers of every block, from the stem to the top, the head left out.

    MetaFormer, PiT and CSATv2 describe no groups and RDNet no coarse ones: there the structure decides.

    Args:
        module: A timm network.
        head: Names of the submodules that make up its head.
    """
    matcher = _coarse_groups(module)
    if matcher is None:
        return blocks_by_structure(module, head)
    return blocks_by_group(module, head, group_parameters(cast(Any, _Tensors(module)), matcher, reverse=True))


def _coarse_groups(module: Any) -> Any:
    if not hasattr(module, "group_matcher"):
        return None
    try:
        return module.group_matcher(coarse=True)
    except (AssertionError, NotImplementedError):
        # How an architecture says that it has no coarse groups.
        return None
