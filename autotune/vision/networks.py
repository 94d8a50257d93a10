"""A network's tensors by place: its head, and its blocks from the stem to the top."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import torch

Blocks: TypeAlias = tuple[tuple[str, ...], ...]

FEWEST_PARTS = 4


def tensor_names(module: torch.nn.Module) -> list[str]:
    """Names of all parameters and buffers, in the order of registration, parameters first."""
    return [n for n, _ in module.named_parameters()] + [n for n, _ in module.named_buffers()]


def lies_within(name: str, modules: Iterable[str]) -> bool:
    """Whether a tensor belongs to one of the named submodules."""
    return any(name.startswith(f"{module}.") for module in modules)


def class_heads(one: torch.nn.Module, other: torch.nn.Module) -> tuple[str, ...]:
    """Names of the modules whose tensors depend on the number of classes.

    Args:
        one: The network for some number of classes; the meta device suffices.
        other: The same network for another number of classes.
    """
    shapes = {n: p.shape for n, p in other.named_parameters()}
    found = [n.rpartition(".")[0] for n, p in one.named_parameters() if shapes.get(n) != p.shape]
    return outermost(found)


def outermost(modules: Iterable[str]) -> tuple[str, ...]:
    """The given modules without repetition and without those that lie inside another one."""
    unique = list(dict.fromkeys(modules))
    return tuple(m for m in unique if not any(m.startswith(f"{other}.") for other in unique))


def blocks_by_structure(module: torch.nn.Module, head: Sequence[str]) -> Blocks:
    """Blocks from how a network is put together, for architectures that describe none.

    The parts are the network's children in the order of registration. While fewer than four parts hold weights,
    the one with the most parts of its own gives way to them: ``features`` to its stages, an encoder to its layers.

    Args:
        module: The network.
        head: Names of the submodules that make up its head.
    """
    weights = {name for name in _weights(module) if not lies_within(name, head)}
    parts = [name for name, _ in module.named_children()]
    while sum(any(lies_within(w, [p]) for w in weights) for p in parts) < FEWEST_PARTS:
        inner = {p: _weighted_children(module, p, weights) for p in parts}
        widest = max(parts, key=lambda p: len(inner[p]))
        if not inner[widest]:
            break
        at = parts.index(widest)
        parts[at : at + 1] = [f"{widest}.{name}" for name, _ in module.get_submodule(widest).named_children()]
    groups: dict[int, list[str]] = {}
    for name in tensor_names(module):
        if not lies_within(name, head):
            groups.setdefault(_place(name, parts), []).append(name)
    return merge_strays([groups[at] for at in sorted(groups)], weights)


def blocks_by_group(module: torch.nn.Module, head: Sequence[str], group_of: Mapping[str, int]) -> Blocks:
    """Blocks from an architecture's own description.

    Args:
        module: The network.
        head: Names of the submodules that make up its head.
        group_of: The group of every parameter and buffer, counted from the stem.
    """
    weights = _weights(module)
    groups: dict[int, list[str]] = {}
    for name in tensor_names(module):
        if not lies_within(name, head):
            groups.setdefault(group_of[name], []).append(name)
    return merge_strays([groups[at] for at in sorted(groups)], weights)


def merge_strays(groups: Sequence[Sequence[str]], weights: Iterable[str]) -> Blocks:
    """Joins groups without a layer's weight, e.g. a last norm or position embeddings, to the block beneath them.

    Args:
        groups: Names of tensors, from the stem to the top.
        weights: Names of the tensors that make a group a block of its own.
    """
    heavy = set(weights)
    merged: list[list[str]] = []
    waiting: list[str] = []
    for group in groups:
        if heavy.isdisjoint(group):
            (merged[-1] if merged else waiting).extend(group)
        else:
            merged.append([*waiting, *group])
            waiting = []
    return tuple(tuple(block) for block in merged)


def _weights(module: torch.nn.Module) -> set[str]:
    """Names of the weights of layers: of two or more dimensions, so no norms, and no embeddings of positions."""
    return {n for n, p in module.named_parameters() if p.dim() > 1 and n.endswith("weight")}


def _weighted_children(module: torch.nn.Module, part: str, weights: set[str]) -> list[str]:
    names = [f"{part}.{name}" for name, _ in module.get_submodule(part).named_children()]
    return [n for n in names if any(lies_within(w, [n]) for w in weights)]


def _place(name: str, parts: Sequence[str]) -> int:
    """Orders a tensor among the parts; one that lies beside some of them comes just before the first of these."""
    for at, part in enumerate(parts):
        if name.startswith(f"{part}."):
            return 2 * at + 1
    parent = name.rpartition(".")[0]
    return next((2 * at for at, part in enumerate(parts) if not parent or part.startswith(f"{parent}.")), 0)
