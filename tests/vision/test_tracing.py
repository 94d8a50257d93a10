"""What is written down of a network's run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from autotune.vision.steps import Batch, Step, Untraceable
from autotune.vision.tracing import trace


class Blocks(nn.Module):
    """A stem, a block with a dropout that no block owns, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x.reshape(x.shape[0] * 2, 4, -1)
        x = self.drop(x.reshape(-1, 2, 4, x.shape[-1]).mean((1, 3)))
        return self.head(x)


LEVELS = {"stem.0.weight": 0, "stem.0.bias": 0, "head.weight": 1, "head.bias": 1}


def _steps(network: nn.Module) -> dict[str, Step]:
    steps, end = trace(network, LEVELS, torch.randn(3, 3, 16, 16))
    assert end == len(steps) - 1
    return {str(step.target): step for step in steps}


def test_a_block_is_one_step_and_what_lies_between_is_followed() -> None:
    """The stem and the head are steps with their level; the operations between them have none."""
    steps = _steps(Blocks())
    assert list(steps) == ["images", "stem", "reshape", "mean", "drop", "head"]
    assert [steps[name].own for name in ("stem", "drop", "head")] == [0, -1, 1]


def test_numbers_that_follow_the_batch_size_are_known() -> None:
    """Twice the batch size is that, and not a 4 or a 6; shapes are known the same way."""
    module = Blocks()
    steps, _ = trace(module, LEVELS, torch.randn(3, 3, 16, 16))
    first = next(step for step in steps if step.target == "reshape")
    assert first.args[1:] == (Batch(2, 0), 4, -1)
    assert first.shape == (Batch(2, 0), 4, 8)
    assert steps[-1].shape == (Batch(1, 0), 2)


def test_what_draws_is_random_and_what_is_off_gives_its_input_back() -> None:
    """A dropout draws in training; in evaluation it is the step before it."""
    module = Blocks()
    drawn = _steps(module.train())["drop"]
    assert drawn.random
    assert drawn.same is None
    off = _steps(module.eval())["drop"]
    assert not off.random
    assert off.same is not None


class Odd(Blocks):
    """Does something else for every batch."""

    def __init__(self, odd: Any) -> None:
        super().__init__()
        self.odd = odd

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.odd(self.stem(x)).mean((2, 3)))


def _twice_for_three(x: torch.Tensor) -> torch.Tensor:
    return x * 2 if len(x) > 2 else x


def _scaled(x: torch.Tensor) -> torch.Tensor:
    return x * (1 / len(x))


def _read(x: torch.Tensor) -> torch.Tensor:
    return x * 2 if x.sum() > 0 else x * 3


def _written_behind(x: torch.Tensor) -> torch.Tensor:
    x.view(-1).zero_()
    return x + 1


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (_twice_for_three, "other steps for another number of images"),
        (_scaled, "depends on the number of images"),
        (_read, "reads the values of a tensor"),
        (_written_behind, "writes into a tensor that it uses again"),
    ],
)
def test_what_cannot_be_repeated_is_told(odd: Any, reason: str) -> None:
    """Each reason is its own."""
    with pytest.raises(Untraceable, match=reason):
        trace(Odd(odd), LEVELS, torch.randn(3, 3, 16, 16))
