"""Blocks from structure and from groups."""

from __future__ import annotations

import torch
from torch import nn

from autotune.vision.networks import (
    blocks_by_group,
    blocks_by_structure,
    class_heads,
    lies_within,
    merge_strays,
    outermost,
    tensor_names,
)


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, 4, 8))
        self.layers = nn.Sequential(*(nn.Linear(8, 8) for _ in range(5)))
        self.norm = nn.LayerNorm(8)


class _Network(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.stem = nn.Conv2d(3, 8, 4)
        self.encoder = _Encoder()
        self.head = nn.Linear(8, classes)


def test_blocks_are_the_widest_parts_inside() -> None:
    """Five layers deep inside an encoder are blocks; embeddings join the stem, the last norm the top."""
    module = _Network()
    blocks = blocks_by_structure(module, ("head",))
    assert len(blocks) == 6
    assert set(blocks[0]) == {"token", "stem.weight", "stem.bias", "encoder.positions"}
    assert set(blocks[-1]) == {
        "encoder.layers.4.weight",
        "encoder.layers.4.bias",
        "encoder.norm.weight",
        "encoder.norm.bias",
    }


def test_blocks_and_head_name_every_tensor_once() -> None:
    """Buffers included, nothing is named twice."""
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    blocks = blocks_by_structure(module, ("3",))
    listed = [n for block in blocks for n in block]
    assert sorted([*listed, "3.weight", "3.bias"]) == sorted(tensor_names(module))


def test_a_group_without_weights_joins_the_block_beneath() -> None:
    """A norm above a block is its part; strays at the very bottom join the first block."""
    groups = [["position"], ["a.weight"], ["norm.weight"], ["b.weight"]]
    assert merge_strays(groups, {"a.weight", "b.weight"}) == (("position", "a.weight", "norm.weight"), ("b.weight",))


def test_groups_of_the_architecture_keep_their_order() -> None:
    """The given numbers decide, not the order of registration."""
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1))
    blocks = blocks_by_group(module, ("2",), {"0.weight": 1, "0.bias": 1, "1.weight": 0, "1.bias": 0})
    assert blocks == (("1.weight", "1.bias"), ("0.weight", "0.bias"))


def test_heads_are_what_depends_on_the_number_of_classes() -> None:
    """Two networks that differ in classes only differ in the head only."""
    assert class_heads(_Network(3), _Network(5)) == ("head",)
    assert outermost(["head", "head.fc", "head", "aux"]) == ("head", "aux")
    assert lies_within("head.fc.weight", ["head"])
    assert not lies_within("header.weight", ["head"])
