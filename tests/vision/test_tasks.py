"""Several tasks on one network: whose turn it is, and what each sample's loss is."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch
from torch.nn import functional

from autotune.vision import (
    Boundaries,
    BoundaryFeed,
    Cuts,
    Images,
    Placement,
    TaskLoss,
    TaskRows,
    Turns,
    freeze,
    task_columns,
)
from autotune.vision.arrays import ArrayCache
from autotune.vision.tasks import shared_out

CPU = Placement("cpu")


def test_columns_stand_side_by_side():
    """Every task has as many columns as classes, and no column is left over."""
    assert task_columns([2, 10, 3]) == (slice(0, 2), slice(2, 12), slice(12, 15))
    assert task_columns([4]) == (slice(0, 4),)


@pytest.mark.parametrize(
    ("batches", "balance", "wanted"),
    [
        ([7], 0.0, [7]),
        ([7], 0.5, [7]),
        ([90, 10], 1.0, [90, 10]),
        ([90, 10], 0.0, [50, 50]),
        ([90, 10], 0.5, [75, 25]),
        ([3, 2, 2], 0.0, [3, 2, 2]),
        ([1, 1, 200], 0.0, [67, 67, 68]),
        ([313, 4, 11], 1.0, [313, 4, 11]),
    ],
)
def test_balance_shares_out_the_batches_of_an_epoch(batches, balance, wanted):
    """One pass each at 1, all alike at 0, in between by the exponent; the sum is that of one pass over all."""
    found = shared_out(batches, balance)
    assert sum(found) == sum(batches)
    assert sorted(found) == sorted(wanted)
    assert all(abs(one - other) <= 1 for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("balance", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_every_task_gets_a_batch(balance):
    """However small a task is beside the others, it is not left out."""
    assert min(shared_out([1, 1, 1, 5000], balance)) >= 1


@pytest.fixture
def sides(coloured, preprocess):
    """A task of 90 images and 3 classes, and one of 20 images and 2 classes."""
    large, small = coloured(90), coloured(20, classes=2, seed=1)
    return [Images(large, preprocess, CPU, seed=4), Images(small, preprocess, CPU, seed=5)]


def turns(sides, balance, classes=(3, 2)):
    """The sides in turn."""
    return Turns(sides, classes[: len(sides)], balance=balance, seed=9)


def test_one_task_is_the_task_itself(sides):
    """With one task an epoch has the very batches, in the order of the side's own epoch."""
    alone = turns(sides[:1], 0.3)
    for epoch in range(3):
        pairs = zip(alone.epoch(epoch, 16), sides[0].epoch(epoch, 16), strict=True)
        for ((one,), labels), ((other,), targets) in pairs:
            assert torch.equal(one, other)
            assert torch.equal(labels, targets)
        assert alone.images(epoch, 16) == 90


def test_in_proportion_every_image_comes_once_an_epoch(sides):
    """With balance 1 an epoch is one pass over every task, mixed; labels tell the task."""
    both = turns(sides, 1.0)
    for epoch in range(2):
        labels = torch.cat([targets for _, targets in both.epoch(epoch, 16)])
        expected = torch.cat([sides[0].targets, sides[1].targets + 3])
        assert torch.equal(labels.sort().values, expected.sort().values)
        assert both.images(epoch, 16) == len(labels) == len(both) == 110
    orders = {tuple(int(targets[0]) >= 3 for _, targets in both.epoch(epoch, 16)) for epoch in range(6)}
    assert len(orders) > 1


def test_batches_hold_one_task_each(sides):
    """No batch mixes tasks, so that BatchNorm sees one task at a time."""
    for _, targets in turns(sides, 0.5).epoch(0, 16):
        assert bool((targets < 3).all()) or bool((targets >= 3).all())


@pytest.mark.parametrize("balance", [0.0, 0.5])
def test_tasks_walk_through_their_own_passes_over_epochs(sides, balance):
    """From epoch to epoch each task goes on where it was, in the middle of a pass or in the next; none is skipped."""
    both = turns(sides, balance)
    found = [[], []]
    for epoch in range(4):
        seen = 0
        for (images,), targets in both.epoch(epoch, 16):
            found[int(targets[0] >= 3)].append(images)
            seen += len(targets)
        assert both.images(epoch, 16) == seen
    for side, batches in zip(sides, found, strict=True):
        endless = (batch for epoch in range(100) for (batch,), _ in side.epoch(epoch, 16))
        own = list(islice(endless, len(batches)))
        assert all(torch.equal(one, other) for one, other in zip(batches, own, strict=True))
    assert len(found[0]) + len(found[1]) == 4 * 8


def test_where_a_task_stands_follows_from_the_epoch(sides):
    """An epoch asked for by itself is the one that comes after the others: nothing but its number decides."""
    walked = turns(sides, 0.5)
    for epoch in range(3):
        last = [targets for _, targets in walked.epoch(epoch, 16)]
    fresh = [targets for _, targets in turns(sides, 0.5).epoch(2, 16)]
    assert all(torch.equal(one, other) for one, other in zip(last, fresh, strict=True))


def test_a_pass_may_begin_in_its_middle(sides, backbone, preprocess, tmp_path):
    """Leaving out the first batches leaves the others as they are: of images, of kept and of live activations."""
    module = CPU.module(backbone.build(3)).eval()
    freeze(module, backbone, 1)
    cuts = Cuts(module, backbone, img_size=preprocess.img_size, folder=None)
    boundaries = Boundaries(cuts, "weights", CPU, ArrayCache(tmp_path, None), dtype=None, note=print)
    feeds = [
        sides[0],
        *(BoundaryFeed(sides[0], boundaries, cuts.at(1), keep=keep, keep_going=lambda: True) for keep in (True, False)),
    ]
    for feed in feeds:
        whole = list(feed.epoch(1, 16))
        rest = list(feed.epoch(1, 16, start=4))
        assert len(rest) == len(whole) - 4
        for (one, labels), (other, targets) in zip(rest, whole[4:], strict=True):
            assert torch.equal(labels, targets)
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_epoch_ends_where_the_host_says_stop(sides):
    """A task whose feed gives nothing any more ends the epoch instead of breaking it."""

    class Silent:
        def __len__(self):
            return 20

        def epoch(self, epoch, batch_size, *, start=0):
            return iter(())

    seen = [targets for _, targets in turns([sides[0], Silent()], 0.5).epoch(0, 16)]
    assert all(bool((targets < 3).all()) for targets in seen)


def batch(columns=5, count=12, first=0, classes=5, seed=0):
    """Logits and labels of some columns."""
    torch.manual_seed(seed)
    return torch.randn(count, columns, requires_grad=True), torch.randint(first, first + classes, (count,))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_loss_within_a_task_is_the_cross_entropy_of_its_columns(smoothing):
    """For each task the loss is that of its own columns alone, and only these get gradients."""
    loss = TaskLoss([3, 2], CPU, smoothing=smoothing, weights=[1.0, 1.0])
    for first, classes in ((0, 3), (3, 2)):
        logits, labels = batch(first=first, classes=classes)
        own = logits.detach()[:, first : first + classes].clone().requires_grad_()
        expected = functional.cross_entropy(own, labels - first, label_smoothing=smoothing)
        expected.backward()
        found = loss(logits, labels)
        found.backward()
        assert torch.allclose(found, expected, atol=1e-6)
        assert torch.allclose(logits.grad[:, first : first + classes], own.grad, atol=1e-7)
        others = [column for column in range(5) if not first <= column < first + classes]
        assert bool((logits.grad[:, others] == 0).all())


def test_one_task_has_the_plain_cross_entropy():
    """With one task of all columns the loss is that of a single task."""
    logits, labels = batch()
    loss = TaskLoss([5], CPU, smoothing=0.1, weights=[1.0])
    assert torch.allclose(
        loss(logits, labels), functional.cross_entropy(logits, labels, label_smoothing=0.1), atol=1e-6
    )


def test_a_batch_of_several_tasks_is_the_sum_of_its_parts():
    """Samples of different tasks in one batch count as in batches of their own, each by its task's weight."""
    loss = TaskLoss([3, 2], CPU, smoothing=0.1, weights=[0.5, 1.5])
    logits, labels = batch(count=8, classes=3)
    more, others = batch(count=4, first=3, classes=2, seed=1)
    together = loss(torch.cat([logits, more]), torch.cat([labels, others]))
    plain = TaskLoss([3, 2], CPU, smoothing=0.1, weights=[1.0, 1.0])
    expected = (8 * 0.5 * plain(logits, labels) + 4 * 1.5 * plain(more, others)) / 12
    assert torch.allclose(together, expected, atol=1e-6)
    assert loss.weights() == [0.5, 1.5]


def test_uncertainty_begins_as_equal_weights():
    """At a variance of 1 the learned weighting has the loss and the gradients of weights of 1."""
    learned = TaskLoss([3, 2], CPU, smoothing=0.1, weights=None)
    logits, labels = batch(classes=3)
    fixed = logits.detach().clone().requires_grad_()
    found, expected = learned(logits, labels), TaskLoss([3, 2], CPU, smoothing=0.1, weights=[1.0, 1.0])(fixed, labels)
    found.backward()
    expected.backward()
    assert torch.allclose(found, expected)
    assert torch.allclose(logits.grad, fixed.grad)
    assert learned.weights() == [1.0, 1.0]
    assert learned.log_variances.grad[1] == 0


def test_uncertainty_ends_where_the_paper_says():
    """Learned alone, a task's weight becomes half the inverse of its loss: a harder task counts less."""
    loss = TaskLoss([3, 2], CPU, smoothing=0.0, weights=None)
    rows = [batch(classes=3), batch(first=3, classes=2, seed=1)]
    optimizer = torch.optim.Adam([loss.log_variances], lr=0.05)
    for step in range(800):
        logits, labels = rows[step % 2]
        optimizer.zero_grad()
        loss(logits.detach(), labels).backward()
        optimizer.step()
    plain = TaskLoss([3, 2], CPU, smoothing=0.0, weights=[1.0, 1.0])
    for weight, (logits, labels) in zip(loss.weights(), rows, strict=True):
        assert weight == pytest.approx(1 / (2 * float(plain(logits.detach(), labels))), rel=0.05)
    assert all(map(math.isfinite, loss.weights()))


def test_only_the_rows_whose_turn_it_is_get_gradients():
    """Without a turn every task's rows move, in a turn that task's alone; once closed, the head has its own again."""
    torch.manual_seed(0)
    head = torch.nn.Linear(4, 5)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1, weight_decay=0.1)
    rows = TaskRows(optimizer, dict(head.named_parameters()), [3, 2])
    assert list(rows.parts) == ["weight@0", "weight@1", "bias@0", "bias@1"]
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == set(map(id, rows.parts.values()))
    for turn, moves in ((None, (True, True)), (0, (True, False)), (1, (False, True))):
        before = head.weight.detach().clone()
        if turn is not None:
            rows.take_turn(turn)
        head(torch.ones(2, 4)).sum().backward()
        assert head.weight.grad is None
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        moved = (head.weight != before).any(dim=1).tolist()
        assert moved == [moves[0]] * 3 + [moves[1]] * 2
    rows.close()
    head(torch.ones(2, 4)).sum().backward()
    assert head.weight.grad is not None
    assert all(part.grad is None for part in rows.parts.values())


def test_turns_say_whose_batch_comes(sides):
    """What is told before each batch is the task that its labels are of."""
    told = []
    feed = Turns(sides, (3, 2), balance=0.5, seed=9, told=told.append)
    firsts = torch.tensor(feed.firsts)
    for _, labels in feed.epoch(0, 4):
        assert int((labels.min() >= firsts).sum()) - 1 == told[-1]
    assert len(told) == sum(feed.shares(4))
    assert set(told) == {0, 1}
