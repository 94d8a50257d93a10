"""Sizes and costs found on the meta device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from autotune.vision.probing import SizeRule, WeightsOnMeta, multiply_accumulates, size_rule


def _accepting(accepts: Callable[[int], bool]) -> Callable[[int], tuple[int, ...]]:
    def shape_at(size: int) -> tuple[int, ...]:
        if not accepts(size):
            raise AssertionError(size)
        return (2, 5)

    return shape_at


@pytest.mark.parametrize(
    ("accepts", "rule"),
    [
        (lambda size: size >= 75, SizeRule("any", 1, 75)),
        (lambda size: True, SizeRule("any", 1, 32)),
        (lambda size: size % 16 == 0, SizeRule("multiple", 16, 32)),
        (lambda size: size % 32 == 0 and size >= 96, SizeRule("multiple", 32, 96)),
        (lambda size: size == 224, SizeRule("fixed", 1, 224)),
        (lambda size: 220 < size < 228, SizeRule("fixed", 1, 224)),
        (lambda size: False, SizeRule("fixed", 1, 224)),
    ],
)
def test_the_rule_is_found_by_asking(accepts: Callable[[int], bool], rule: SizeRule) -> None:
    """Any size, multiples, one size only: as the network behaves."""
    assert size_rule(_accepting(accepts), 224) == rule


def test_a_patch_is_the_smallest_step() -> None:
    """Pixels that a patch would cut away do not make a size acceptable."""
    assert size_rule(_accepting(lambda size: True), 224, 14) == SizeRule("multiple", 14, 42)


def test_a_convolution_costs_what_it_multiplies() -> None:
    """3 x 8 kernels of 3 x 3 over 100 x 100 pixels."""
    with torch.device("meta"):
        module = nn.Conv2d(3, 8, 3, padding=1)
    assert multiply_accumulates(module, 100) == round(3 * 8 * 9 * 100 * 100 / 1e9, 4)


def test_weights_go_to_meta_and_arithmetic_stays() -> None:
    """A layer is made on the meta device while numbers can still be read."""
    with WeightsOnMeta():
        assert nn.Linear(2, 2).weight.is_meta
        assert torch.arange(3).sum().item() == 3
