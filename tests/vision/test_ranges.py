"""Any contiguous range of blocks can be trained: the others keep their bits, and gradients pass through them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autotune.vision import (
    ArrayCache,
    Average,
    Boundaries,
    BoundaryFeed,
    Cuts,
    Images,
    Placement,
    Rates,
    Trained,
    freeze,
    make_optimizer,
    make_penalties,
    require_gradients,
    train_epoch,
    train_mode,
)

CPU = Placement("cpu")
RANGES = [("top", 2, {3, 4}), ("middle", 2, {1, 2}), ("middle", 3, {1, 2, 3}), ("bottom", 2, {0, 1})]


def yes():
    """Always goes on."""
    return True


def training(tower, where, unfreeze, *, opt="sgd", batch_statistics=True):
    """The tower with some blocks unfrozen, ready to train."""
    torch.manual_seed(0)
    module = CPU.module(tower.build(3, drop=0.1)).eval()
    partition = freeze(module, tower, unfreeze, where)
    rates = Rates(lr=0.05, lr_blocks=0.05, layer_decay=0.8, opt=opt, momentum=0.9, weight_decay=0.1, l1=1e-3)
    optimizer = make_optimizer(module, partition, rates)
    live = {n: t for n, t in module.state_dict(keep_vars=True).items() if n in partition.trained}
    return Trained(
        module=module,
        partition=partition,
        optimizer=optimizer,
        average=Average(live, 6),
        placement=CPU,
        smoothing=0.05,
        mix=None,
        warmup_steps=2,
        penalties=make_penalties(optimizer),
        batch_statistics=batch_statistics,
        note=print,
        forward=module,
    )


def state(module):
    """Its weights and statistics, copied."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def run(trained, feed, epochs=2):
    """Trains some epochs; returns weights and statistics."""
    for epoch in range(epochs):
        train_epoch(trained, feed, epoch=epoch, batch_size=16, seed=3, keep_going=yes)
    return state(trained.module)


@pytest.mark.parametrize(("where", "unfreeze", "blocks"), RANGES)
def test_the_range_is_where_it_is_said_to_be(tower, where, unfreeze, blocks):
    """From the top, in the middle with as many frozen blocks on both sides, or from the bottom."""
    module = tower.build(3)
    partition = freeze(module, tower, unfreeze, where)
    trained = {n for n, p in module.named_parameters() if p.requires_grad}
    assert {int(name.split(".")[1]) for name in trained if name.startswith("blocks.")} == blocks
    assert {"head.weight", "head.bias"} <= trained
    assert partition.boundary == 5 - min(blocks)
    depths = {block: partition.depth(f"blocks.{block}.0.weight") for block in blocks}
    assert depths == {block: max(blocks) - block for block in blocks}
    assert partition.depth("head.weight") == -1


@pytest.mark.parametrize("where", ["top", "middle", "bottom"])
def test_without_blocks_and_with_all_of_them_the_place_does_not_matter(tower, where):
    """Nothing unfrozen has its boundary beneath the head; everything unfrozen has none."""
    module = tower.build(3)
    nothing, everything = (freeze(module, tower, count, where) for count in (0, 5))
    assert (nothing.boundary, nothing.trained) == (0, nothing.head)
    assert (everything.boundary, everything.above) == (5, 0)
    assert all(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
@pytest.mark.parametrize(("where", "unfreeze", "blocks"), RANGES)
def test_a_frozen_block_does_not_move_by_a_bit(tower, split, preprocess, where, unfreeze, blocks, opt):
    """After two epochs with weight decay and L1, above and beneath the range all bits are what they were."""
    trained = training(tower, where, unfreeze, opt=opt)
    before = state(trained.module)
    after = run(trained, Images(split, preprocess, CPU, seed=3))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {int(name.split(".")[1]) for name in moved if name.startswith("blocks.")} == blocks
    # Weights, norms and statistics of every block of the range, and the head.
    assert all({f"blocks.{i}.0.weight", f"blocks.{i}.1.weight", f"blocks.{i}.1.running_mean"} <= moved for i in blocks)
    assert {"head.weight", "head.bias"} <= moved


def test_gradients_pass_through_frozen_blocks_above(tower):
    """The lowest block learns beneath four frozen ones, which get no gradients and keep their mode."""
    module = tower.build(3)
    partition = freeze(module, tower, 1, "bottom")
    train_mode(module, partition)
    module(torch.randn(4, 3, 16, 16)).sum().backward()
    assert module.blocks[0][0].weight.grad.abs().sum() > 0
    assert all(p.grad is None for block in module.blocks[1:] for p in block.parameters())
    assert [block[1].training for block in module.blocks] == [True, False, False, False, False]


@pytest.mark.parametrize("batch_statistics", [True, False])
@pytest.mark.parametrize("way", ["kept", "anew"])
def test_kept_activations_change_nothing_for_a_range(tower, split, preprocess, tmp_path, way, batch_statistics):
    """From the boundary beneath a range in the middle, kept or computed anew, it trains as the whole network does."""
    found = []
    for keep in (None, way):
        trained = training(tower, "middle", 2, batch_statistics=batch_statistics)
        images = Images(split, preprocess, CPU, seed=3)
        feed = images
        if keep is not None:
            cuts = Cuts(trained.module, tower, img_size=preprocess.img_size, folder=None)
            cut = cuts.at(trained.partition.boundary)
            boundaries = Boundaries(cuts, "tower", CPU, ArrayCache(tmp_path), dtype=None, note=print)
            feed = BoundaryFeed(images, boundaries, cut, keep=keep == "kept", keep_going=yes)
            trained.forward = cut.suffix
        before = state(trained.module)
        after = run(trained, feed)
        frozen = [n for n in before if n.split(".")[0] == "blocks" and int(n.split(".")[1]) in (0, 3, 4)]
        assert all(torch.equal(before[name], after[name]) for name in frozen)
        found.append(after)
    assert all(torch.allclose(found[0][name], found[1][name], rtol=0, atol=1e-5) for name in found[0])


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_blocks_that_open_later_keep_their_bits_until_then(tower, split, preprocess, opt):
    """In the optimiser and the average from the start, they stay as they are, and then train with all the others."""
    trained = training(tower, "middle", 3, opt=opt)
    before, images = state(trained.module), Images(split, preprocess, CPU, seed=3)
    whole = trained.partition
    trained.partition = replace(whole, unfreeze=1)
    require_gradients(trained.module, trained.partition)
    closed = run(trained, images)
    later = [n for n in before if n.startswith(("blocks.1.", "blocks.2."))]
    assert all(torch.equal(before[name], closed[name]) for name in later)
    assert all(torch.equal(before[name], trained.average.mean[name]) for name in later)
    assert not torch.equal(before["blocks.3.0.weight"], closed["blocks.3.0.weight"])
    assert not any(p in trained.optimizer.state for p in trained.module.blocks[1].parameters())
    trained.partition = whole
    require_gradients(trained.module, whole)
    opened = run(trained, images)
    assert not any(torch.equal(opened[f"blocks.{i}.0.weight"], closed[f"blocks.{i}.0.weight"]) for i in (1, 2, 3))
    assert all(torch.equal(before[n], opened[n]) for n in before if n.startswith(("blocks.0.", "blocks.4.")))
