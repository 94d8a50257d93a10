"""A network in parts that are not the whole is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from autotune.vision import freeze
from autotune.vision.agreement import disagreement, undisturbed

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def _between(module: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> tuple[Any, Any]:
    """The two parts of the small network, one of which changes the boundary."""

    def suffix(x: torch.Tensor) -> torch.Tensor:
        return module.head(module.drop(module.top(change(x)).mean((2, 3))))

    return lambda images: (module.low(images).detach(),), suffix


def _judge(backbone: Any, parts: Callable[[Any], tuple[Any, Any]]) -> str:
    module = backbone.build(3, drop=0.4)
    with undisturbed(module):
        return disagreement(module, freeze(module, backbone, 1), *parts(module), IMAGES)


def test_the_network_itself_agrees(backbone: Any) -> None:
    """Nothing differs where nothing was changed, dropout included."""
    assert _judge(backbone, lambda module: _between(module, lambda x: x)) == ""


def _without_gradient(module: Any) -> tuple[Any, Any]:
    def lost(x: torch.Tensor) -> torch.Tensor:
        pooled = module.top(x).mean((2, 3))
        return module.head(module.drop(pooled if not module.training else pooled.detach()))

    return _between(module, lambda x: x)[0], lost


def _without_statistics(module: Any) -> tuple[Any, Any]:
    prefix, suffix = _between(module, lambda x: x)

    def forgetful(x: torch.Tensor) -> torch.Tensor:
        module.top[1].momentum = 0.0
        logits = suffix(x)
        module.top[1].momentum = 0.1
        return logits

    return prefix, forgetful


def _without_dropout(module: Any) -> tuple[Any, Any]:
    return _between(module, lambda x: x)[0], lambda x: module.head(module.top(x).mean((2, 3)))


def _mixed(module: Any) -> tuple[Any, Any]:
    _, suffix = _between(module, lambda x: x)
    return lambda images: (module.low(images).flip(0),), lambda x: suffix(x.flip(0))


def _writing(module: Any) -> tuple[Any, Any]:
    def emptied(x: torch.Tensor) -> torch.Tensor:
        taken = x.clone()
        x.zero_()
        return taken

    return _between(module, emptied)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (lambda module: _between(module, lambda x: x + 1e-3), "logits in evaluation differ"),
        (
            lambda module: _between(module, lambda x: x.clamp(min=0.1 if module.training else 0)),
            "logits in training differ",
        ),
        (_without_dropout, "logits in training differ"),
        (_without_gradient, "gradients in training differ"),
        (_without_statistics, "statistics in training differ"),
        (_mixed, "depends on the other images"),
        (_writing, "writes into what crosses"),
    ],
)
def test_a_difference_is_found_and_named(backbone: Any, parts: Any, told: str) -> None:
    """Each of the things that are compared is noticed when it is the only one that differs."""
    assert told in _judge(backbone, parts)
