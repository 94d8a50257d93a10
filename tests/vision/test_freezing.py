from __future__ import annotations

import torch

from autotune.vision import Rates, freeze, make_optimizer, train_mode


def test_the_partition_counts_blocks_from_the_top(backbone):
    """One block unfrozen trains the head and the topmost block, nothing else."""
    module = backbone.build(3)
    partition = freeze(module, backbone, 1)
    trained = {n for n, p in module.named_parameters() if p.requires_grad}
    assert trained == {"top.0.weight", "top.0.bias", "top.1.weight", "top.1.bias", "head.weight", "head.bias"}
    assert [partition.depth(n) for n in ("head.bias", "top.0.weight", "low.0.weight")] == [-1, 0, 1]


def test_more_blocks_than_there_are_means_all(backbone):
    """A number of blocks beyond the last trains everything."""
    module = backbone.build(3)
    assert freeze(module, backbone, 99).unfreeze == 2
    assert all(p.requires_grad for p in module.parameters())


def test_frozen_norms_and_trained_dropout_have_the_right_mode(backbone):
    """Frozen BatchNorm evaluates; what is trained, and the dropout before the head, trains."""
    module = backbone.build(3, drop=0.5)
    train_mode(module, freeze(module, backbone, 1))
    assert not module.low[1].training
    assert module.top[1].training
    assert module.drop.training
    assert module.training


def test_a_frozen_block_does_not_move_by_a_bit(backbone):
    """After real steps with weight decay the frozen weights and statistics are the same bits; the trained moved."""
    module = backbone.build(3)
    partition = freeze(module, backbone, 1)
    before = {n: t.clone() for n, t in module.state_dict().items()}
    rates = Rates(lr=0.1, lr_blocks=0.1, layer_decay=0.5, opt="sgd", momentum=0.9, weight_decay=0.1)
    optimizer = make_optimizer(module, partition, rates)
    for step in range(3):
        train_mode(module, partition)
        torch.manual_seed(step)
        torch.nn.functional.cross_entropy(module(torch.randn(8, 3, 16, 16)), torch.randint(0, 3, (8,))).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = module.state_dict()
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert moved == {n for n in before if n.startswith(("top.", "head."))}


def test_pretrained_statistics_can_be_kept_in_trained_blocks(backbone):
    """Without batch statistics every BatchNorm evaluates, and its weights are trained all the same."""
    module = backbone.build(3, drop=0.5)
    train_mode(module, freeze(module, backbone, 2), batch_statistics=False)
    assert not module.low[1].training
    assert not module.top[1].training
    assert module.top[0].training
    assert module.drop.training
    assert module.top[1].weight.requires_grad
