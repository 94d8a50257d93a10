"""Reptile: the topmost blocks adapt to a task, and the start moves a share of the way."""

from __future__ import annotations

import pytest
import torch
from autotune_metalearn.episodes import Drawer
from autotune_metalearn.network import Network
from autotune_metalearn.reading import Sides
from autotune_metalearn.reptile import Adapting, Reptile, _mini_batches, adapted_accuracies
from autotune_metalearn.settings import Settings

from autotune import Backbone

QUICK = {"ways": 3, "shots": 2, "queries": 3, "steps": 2, "tasks": 2, "inner_steps": 3, "inner_lr": 1e-3}


@pytest.fixture
def reptile(top: Network, sides: Sides) -> Reptile:
    """A meta-training of the tiny network."""
    return Reptile(top, sides.train, sides.val, Settings.of("reptile", **QUICK))


def _adapted(adapting: Adapting, inputs: torch.Tensor) -> list[torch.Tensor]:
    """The parameters after three steps on nine images of three classes."""
    for _ in adapting.steps(inputs, torch.arange(3).repeat_interleave(3), [torch.arange(9)] * 3, 1e-3):
        pass
    return [parameter.detach().clone() for parameter in adapting.live]


def test_only_the_topmost_block_and_the_head_move(reptile: Reptile, top: Network, backbone: Backbone) -> None:
    """Outer steps leave every other weight, and all of BatchNorm's statistics, the bits that they were."""
    before = {n: t.clone() for n, t in top.module.state_dict().items()}
    reptile.step(0)
    after = reptile.result().state_dict()
    moved = {n for n, t in after.items() if not torch.equal(t, before[n])}
    assert {"fc.weight", "fc.bias"} < moved
    assert moved & set(backbone.blocks(top.module)[-1])
    assert moved <= top.partition.trained
    assert not any("running" in name or "tracked" in name for name in moved)


def test_the_start_moves_a_share_of_the_way(reptile: Reptile, sides: Sides) -> None:
    """A share of 1 with one task is the adapted network, 0 the start, and several tasks count by their mean."""
    adapting = reptile.adapting
    inputs = reptile.train.rows(torch.arange(9))
    other = reptile.train.rows(torch.arange(9, 18))
    start = [tensor.clone() for tensor in adapting.start]
    one = _adapted(adapting, inputs)
    path = adapting.moved()
    adapting.move([path], 0.0)
    assert all(torch.equal(a, b) for a, b in zip(adapting.start, start, strict=True))
    two = _adapted(adapting, other)
    paths = [path, adapting.moved()]
    adapting.move(paths, 0.5)
    for now, begin, a, b in zip(adapting.start, start, one, two, strict=True):
        torch.testing.assert_close(now, begin + 0.5 * ((a - begin) + (b - begin)) / 2)
    adapting.start = [tensor.clone() for tensor in start]
    adapting.move([path], 1.0)
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(adapting.live, one, strict=True))


def test_every_task_begins_at_the_start(reptile: Reptile) -> None:
    """The same task after another one ends at the same bits: nothing of a task is left, Adam's state neither."""
    inputs, other = (reptile.train.rows(torch.arange(first, first + 9)) for first in (0, 9))
    once = _adapted(reptile.adapting, inputs)
    _adapted(reptile.adapting, other)
    again = _adapted(reptile.adapting, inputs)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    reptile.adapting.reset()
    assert all(torch.equal(a, b) for a, b in zip(reptile.adapting.live, reptile.adapting.start, strict=True))


def test_adapting_learns_the_task(reptile: Reptile, sides: Sides) -> None:
    """After some steps a task's own images are told apart; accuracies come by number of steps."""
    tasks = Drawer(sides.val.split.labels).draw(4, ways=3, shots=2, queries=3, seed=0)
    assert reptile.accuracies(tasks).shape == (4,)
    found = adapted_accuracies(reptile.adapting, reptile.val.rows, tasks, rate=3e-3, at=[1, 30])
    assert set(found) == {1, 30}
    assert found[30].shape == (4,)
    inputs, labels = reptile.val.rows(tasks.support[0]), tasks.support_labels
    for _ in reptile.adapting.steps(inputs, labels, [torch.arange(6)] * 30, 3e-3):
        pass
    assert reptile.adapting.logits(inputs).argmax(1).tolist() == labels.tolist()


def test_a_state_can_be_put_back(reptile: Reptile) -> None:
    """What was kept is in the network again, bit by bit."""
    state = reptile.state()
    reptile.step(0)
    reptile.restore(state)
    assert all(torch.equal(a, b) for a, b in zip(reptile.adapting.start, state.values(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(reptile.adapting.live, state.values(), strict=True))


def test_mini_batches_walk_through_the_images_of_every_class() -> None:
    """Two images of each class a step; after half as many steps as a class has images, all were seen once."""
    batches = list(_mini_batches(3, 6, 4))
    assert [sorted(place // 6 for place in batch.tolist()) for batch in batches] == [[0, 0, 1, 1, 2, 2]] * 4
    assert sorted(torch.cat(batches[:3]).tolist()) == list(range(18))
    assert batches[3].tolist() == batches[0].tolist()
    assert [batch.tolist() for batch in _mini_batches(2, 1, 2)] == [[0, 1]] * 2
