from __future__ import annotations

import pytest
import torch

from autotune.vision import Rates, freeze, make_optimizer, set_rates


def rates(opt: str) -> Rates:
    """Rates that tell depths and decays apart."""
    return Rates(lr=0.1, lr_blocks=0.01, layer_decay=0.5, opt=opt, momentum=0.9, weight_decay=0.3)


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_rates_fall_with_depth_and_norms_do_not_decay(backbone, opt):
    """The head has its own rate, each block half the one above; one-dimensional tensors have no weight decay."""
    module = backbone.build(3)
    optimizer = make_optimizer(module, freeze(module, backbone, 2), rates(opt))
    seen = {
        name: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
        for name, other in module.named_parameters()
        if other is parameter
    }
    assert seen["head.weight"] == (0.1, 0.3)
    assert seen["head.bias"] == (0.1, 0.0)
    assert seen["top.0.weight"] == (0.01, 0.3)
    assert seen["low.0.weight"] == (0.005, 0.3)
    assert seen["low.1.weight"] == (0.005, 0.0)
    assert len(seen) == len(list(module.parameters()))


def test_frozen_parameters_are_not_optimised(backbone):
    """With nothing unfrozen the optimiser holds the head's two tensors."""
    module = backbone.build(3)
    optimizer = make_optimizer(module, freeze(module, backbone, 0), rates("adamw"))
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in module.head.parameters()}


def test_warm_up_scales_every_group_from_its_own_peak(backbone):
    """A factor of one half halves each depth's rate."""
    module = backbone.build(3)
    optimizer = make_optimizer(module, freeze(module, backbone, 2), rates("sgd"))
    set_rates(optimizer, 0.5)
    assert sorted({round(group["lr"], 6) for group in optimizer.param_groups}) == [0.0025, 0.005, 0.05]
    assert all(torch.is_tensor(p) for group in optimizer.param_groups for p in group["params"])


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_a_step_is_one_fused_operation(backbone, opt):
    """Every group is stepped by torch's fused kernels."""
    module = backbone.build(3)
    optimizer = make_optimizer(module, freeze(module, backbone, 2), rates(opt))
    assert [group["fused"] for group in optimizer.param_groups] == [True] * len(optimizer.param_groups)
    assert not any(group["foreach"] for group in optimizer.param_groups)
