"""Statistics of batch normalisation, computed anew."""

from __future__ import annotations

import copy

import pytest
import torch

from autotune.vision import TorchModel, refresh_statistics


@pytest.fixture
def model(backbone, preprocess):
    """A small network whose statistics are those of no images."""
    torch.manual_seed(0)
    return TorchModel(backbone.build(3, drop=0.5), classes=("a", "b", "c"), preprocess=preprocess)


def images_of(side):
    """All images of a side."""
    return [side.image(i) for i in range(len(side))]


def test_they_are_those_of_the_images(model, split):
    """With one batch, mean and variance are those of what the norm reads of the images."""
    few = split.take(range(32))
    with torch.no_grad():
        read = model.module.low[0](model.inputs(images_of(few)))
    refresh_statistics(model, ["low.1"], few)
    norm = model.module.low[1]
    assert torch.allclose(norm.running_mean, read.mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, read.transpose(0, 1).flatten(1).var(dim=1), rtol=1e-4)


def test_nothing_else_moves(model, split):
    """Other norms, weights, the momentum and the mode are what they were, bit for bit."""
    before = copy.deepcopy(model.module.state_dict())
    momentum = model.module.low[1].momentum
    refresh_statistics(model, ["low.1"], split)
    for name, tensor in model.module.state_dict().items():
        if not name.startswith("low.1."):
            assert torch.equal(tensor, before[name]), name
    assert torch.equal(model.module.low[1].weight, before["low.1.weight"])
    assert not torch.equal(model.module.low[1].running_mean, before["low.1.running_mean"])
    assert model.module.low[1].momentum == momentum
    assert not any(module.training for module in model.module.modules())


def test_for_all_norms_it_is_what_torch_does(model, split):
    """Over several batches, and for every norm, it agrees with torch's own update_bn; dropout plays no part."""
    other = copy.deepcopy(model.module)
    other.drop.p = 0.0
    batches = [
        model.inputs([split.image(i) for i in part.tolist()]) for part in torch.arange(len(split)).tensor_split(2)
    ]
    torch.optim.swa_utils.update_bn(batches, other)
    refresh_statistics(model, ["low.1", "top.1"], split)
    assert len(split) > model.placement.eval_batch
    for name, tensor in model.module.state_dict().items():
        assert torch.allclose(tensor.float(), other.state_dict()[name].float(), atol=1e-5), name


def test_the_result_is_the_same_twice(model, split):
    """Old statistics leave no trace: refreshed again, nothing changes."""
    refresh_statistics(model, ["low.1", "top.1"], split)
    first = copy.deepcopy(model.module.state_dict())
    refresh_statistics(model, ["low.1", "top.1"], split)
    assert all(torch.equal(tensor, first[name]) for name, tensor in model.module.state_dict().items())
