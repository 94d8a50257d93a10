"""L1 and L2-SP: where they pull, how hard, and what they leave alone."""

from __future__ import annotations

import pytest
import torch

from autotune.vision import Penalties, Rates, freeze, make_optimizer, make_penalties, require_gradients, set_rates
from autotune.vision.penalties import soften


def network(backbone, *, l1=0.0, l2_sp=0.0, opt="sgd", lr=0.1, lr_blocks=0.05, weight_decay=0.01):
    """A small network in training, its optimiser and its penalties."""
    torch.manual_seed(0)
    module = backbone.build(3)
    rates = Rates(
        lr=lr,
        lr_blocks=lr_blocks,
        layer_decay=0.5,
        opt=opt,
        momentum=0.9,
        weight_decay=weight_decay,
        l1=l1,
        l2_sp=l2_sp,
    )
    partition = freeze(module, backbone, 2)
    optimizer = make_optimizer(module, partition, rates)
    return module, partition, optimizer, make_penalties(optimizer)


def state(module):
    """Its parameters, copied."""
    return {name: tensor.detach().clone() for name, tensor in module.named_parameters()}


def test_nothing_to_penalise_is_none(backbone):
    """With both strengths at 0 there is no step that could slow the loop."""
    assert network(backbone)[3] is None
    assert isinstance(network(backbone, l1=0.1)[3], Penalties)
    assert isinstance(network(backbone, l2_sp=0.1)[3], Penalties)


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_l2_sp_is_zero_at_the_start(backbone, opt):
    """At the pretrained weights its step moves nothing by a bit, weight decay of the blocks included."""
    module, _, optimizer, penalties = network(backbone, l2_sp=3.0, opt=opt, weight_decay=0.5)
    before = state(module)
    penalties()
    for name, parameter in module.named_parameters():
        if not name.startswith("head."):
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    penalties()
    assert all(torch.equal(before[name], tensor) for name, tensor in state(module).items())


def test_l2_sp_pulls_by_rate_and_distance(backbone):
    """One step is that of alpha / 2 * |w - w0|^2 with the rate of the block; norms and biases too, and not the head."""
    module, _, optimizer, penalties = network(backbone, l2_sp=2.0)
    start = state(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    moved = state(module)
    set_rates(optimizer, 0.5)
    penalties()
    for name, tensor in state(module).items():
        rate = {"top": 0.05, "low": 0.025}.get(name.split(".")[0], 0.0) * 0.5
        expected = moved[name] - rate * 2.0 * (moved[name] - start[name])
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-6)
    assert torch.equal(module.head.weight, moved["head.weight"])


def test_l2_sp_takes_the_place_of_the_blocks_weight_decay(backbone):
    """The head keeps its own, as the paper has it; without L2-SP all weights decay."""
    for l2_sp, wanted in ((0.0, {0.3}), (0.1, {0.3, 0.0})):
        optimizer = network(backbone, l2_sp=l2_sp, weight_decay=0.3)[2]
        many = [g for g in optimizer.param_groups if g["params"][0].ndim > 1]
        assert {group["weight_decay"] for group in many} == wanted
        head = next(group for group in many if group["peak"] == 0.1)
        assert head["weight_decay"] == 0.3


def test_a_pull_never_goes_beyond_the_start(backbone):
    """However large alpha is, the weights come back to where they started and no further."""
    module, _, _, penalties = network(backbone, l2_sp=1e6)
    start = state(module)
    with torch.no_grad():
        module.top[0].weight.add_(1.0)
    penalties()
    torch.testing.assert_close(module.top[0].weight.detach(), start["top.0.weight"])


def test_the_stronger_the_pull_the_nearer_the_end(backbone):
    """Trained on the same batches, weights end nearer to where they started the larger alpha is."""
    far = []
    for l2_sp in (0.0, 1.0, 10.0):
        module, _, optimizer, penalties = network(backbone, l2_sp=l2_sp, opt="adamw", lr_blocks=0.02, weight_decay=0.0)
        start = state(module)
        for step in range(20):
            torch.manual_seed(step)
            loss = torch.nn.functional.cross_entropy(module(torch.randn(8, 3, 16, 16)), torch.randint(0, 3, (8,)))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if penalties is not None:
                penalties()
        far.append(float((module.top[0].weight.detach() - start["top.0.weight"]).norm()))
    assert far[0] > far[1] > far[2]


def test_soft_thresholding_is_the_proximal_step():
    """No other number has a smaller (x - w)^2 / 2 + t * |x|."""
    weights, threshold = torch.linspace(-2, 2, 41), 0.35
    moved = weights.clone()
    soften([moved], threshold)
    candidates = torch.linspace(-3, 3, 6001)[:, None]
    cost = (candidates - weights) ** 2 / 2 + threshold * candidates.abs()
    torch.testing.assert_close(moved, candidates[cost.argmin(0), 0], rtol=0, atol=1e-3)
    assert (moved[weights.abs() < threshold] == 0).all()
    assert (moved[weights.abs() > threshold + 1e-6] != 0).all()


def test_l1_makes_exact_zeros_and_spares_norms_and_biases(backbone):
    """Weights of more than one dimension move to zero by rate times strength; others stay."""
    module, _, optimizer, penalties = network(backbone, l1=1.0)
    before = state(module)
    set_rates(optimizer, 0.5)
    penalties()
    for name, tensor in state(module).items():
        rate = {"head": 0.1, "top": 0.05, "low": 0.025}[name.split(".")[0]] * 0.5
        if tensor.ndim < 2:
            assert torch.equal(tensor, before[name])
        else:
            near = before[name].abs() <= rate
            assert (tensor[near] == 0).all()
            expected = before[name] - before[name].sign() * rate
            torch.testing.assert_close(tensor[~near], expected[~near])
    assert (module.head.weight == 0).any()


def test_l1_finds_the_features_that_tell_something(backbone):
    """Of twenty features two tell the class: the weights of most others end at exactly zero, and without L1 none do."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(400, 20, generator=generator)
    labels = (inputs[:, 0] + inputs[:, 1] > 0).long()
    zeros = []
    for l1 in (0.0, 0.05):
        torch.manual_seed(0)
        linear = torch.nn.Linear(20, 2)
        optimizer = torch.optim.SGD([{"params": [linear.weight], "l1": l1, "l2_sp": 0.0}], lr=0.5)
        penalties = make_penalties(optimizer)
        for _ in range(300):
            torch.nn.functional.cross_entropy(linear(inputs), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            if penalties is not None:
                penalties()
        zeros.append((linear.weight == 0).sum(0))
    assert not zeros[0].any()
    assert (zeros[1][2:] == 2).float().mean() > 0.8
    assert (zeros[1][:2] < 2).all()


def test_what_is_not_open_is_left_alone(backbone):
    """A block that needs no gradients keeps its bits, also where it is far from its start and near zero."""
    module, partition, _, penalties = network(backbone, l1=5.0, l2_sp=2.0)
    require_gradients(module, type(partition)(partition.head, partition.blocks, 1))
    with torch.no_grad():
        module.low[0].weight.mul_(0.01)
    before = state(module)
    penalties()
    after = state(module)
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("low."))
    assert not torch.equal(before["top.0.weight"], after["top.0.weight"])
