"""Several tasks on one network: how much each has of a batch, and what each sample's loss is."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from hypothesis import given, strategies as st
from torch.nn import functional

from autotune.vision import (
    Boundaries,
    BoundaryFeed,
    Cuts,
    Images,
    Placement,
    TaskFeed,
    TaskLoss,
    freeze,
    task_columns,
)
from autotune.vision.arrays import ArrayCache
from autotune.vision.imbalance import in_batches
from autotune.vision.tasks import shared_out

CPU = Placement("cpu")


def test_columns_stand_side_by_side():
    """Every task has as many columns as classes, and no column is left over."""
    assert task_columns([2, 10, 3]) == (slice(0, 2), slice(2, 12), slice(12, 15))
    assert task_columns([4]) == (slice(0, 4),)


@pytest.mark.parametrize(
    ("sizes", "batch_size", "balance", "wanted"),
    [
        ([7], 32, 0.0, [7]),
        ([40], 32, 0.0, [32]),
        ([7], 1, 0.5, [1]),
        ([1400, 200], 32, 1.0, [28, 4]),
        ([1400, 200], 32, 0.0, [16, 16]),
        ([900, 100], 32, 0.5, [24, 8]),
        ([313, 4, 11], 16, 1.0, [14, 1, 1]),
        ([3, 2, 2], 7, 1.0, [3, 2, 2]),
        ([60_000, 20], 64, 1.0, [63, 1]),
        ([5, 5, 5, 5], 2, 1.0, [1, 1, 1, 1]),
        ([100, 100, 100], 256, 0.5, [86, 85, 85]),
        ([33, 10_000], 64, 0.0, [32, 32]),
        ([5, 10_000], 64, 0.0, [5, 59]),
        ([5, 5], 64, 0.0, [5, 5]),
    ],
)
def test_balance_shares_out_a_batch(sizes, batch_size, balance, wanted):
    """In proportion at 1, alike at 0, in between by the exponent; at least one image of each task, and at most all."""
    assert shared_out(sizes, batch_size, balance) == wanted


@given(
    st.lists(st.integers(1, 100_000), min_size=1, max_size=6),
    st.integers(1, 128),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
)
def test_no_task_is_left_out(sizes, batch_size, balance):
    """A batch is as large as was asked, every task is in it; larger ones have no fewer images, or all are alike."""
    found = shared_out(sizes, batch_size, balance)
    assert sum(found) == max(min(batch_size, sum(sizes)), len(sizes))
    assert all(1 <= one <= size for one, size in zip(found, sizes, strict=True))
    assert balance == 0 or [one for _, one in sorted(zip(sizes, found, strict=True))] == sorted(found)
    with_more = [one for one, size in zip(found, sizes, strict=True) if one < size]
    assert balance > 0 or not with_more or max(found) - min(with_more) <= 1


@pytest.fixture
def sides(coloured, preprocess):
    """A task of 90 images and 3 classes, and one of 20 images and 2 classes."""
    large, small = coloured(90), coloured(20, classes=2, seed=1)
    return [Images(large, preprocess, CPU, seed=4), Images(small, preprocess, CPU, seed=5)]


def together(sides, balance, classes=(3, 2)):
    """The sides as one feed."""
    return TaskFeed(sides, classes[: len(sides)], balance=balance)


def test_one_task_is_the_task_itself(sides):
    """With one task an epoch has the very batches, in the order of the side's own epoch."""
    alone = together(sides[:1], 0.3)
    for epoch in range(3):
        pairs = zip(alone.epoch(epoch, 16), sides[0].epoch(epoch, 16), strict=True)
        for ((one,), labels), ((other,), targets) in pairs:
            assert torch.equal(one, other)
            assert torch.equal(labels, targets)
    assert (alone.steps(16), alone.images(16), alone.shares(16), alone.passes(16)) == (6, 90, [15], [1.0])


def test_in_proportion_every_image_comes_once_an_epoch(sides):
    """With balance 1 and batches that all tasks fill, an epoch is one pass over every task; labels tell the task."""
    both = together(sides, 1.0)
    for epoch in range(2):
        labels = torch.cat([targets for _, targets in both.epoch(epoch, 11)])
        expected = torch.cat([sides[0].targets, sides[1].targets + 3])
        assert torch.equal(labels.sort().values, expected.sort().values)
    assert both.images(11) == len(both) == 110
    assert both.passes(11) == [1.0, 1.0]


class Numbers:
    """A side whose inputs are the numbers of its images, in each pass in another order; no image takes any time."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def row(self, number):
        """A whole pass."""
        return torch.randperm(self.count, generator=torch.Generator().manual_seed(number))

    def epoch(self, epoch, batch_size, *, cuts=None):
        for part in in_batches(self.row(epoch), batch_size, cuts):
            yield (part,), torch.zeros(len(part), dtype=torch.int64)


@pytest.mark.parametrize(
    ("sizes", "batch_size", "balance", "wanted"),
    [
        ([187, 1400], 32, 0.5, [9, 23]),
        ([100, 100, 100], 150, 0.5, [50, 50, 50]),
        ([100, 100, 100], 256, 0.5, [50, 50, 50]),
        ([33, 1000], 64, 0.0, [31, 30]),
        ([33, 991], 64, 0.0, [32, 32]),
        ([5, 5], 64, 0.0, [5, 5]),
        ([5, 100], 35, 0.0, [5, 30]),
        ([3, 3, 3], 2, 1.0, [1, 1, 1]),
    ],
)
def test_every_batch_has_what_was_shared_out(sizes, batch_size, balance, wanted):
    """All batches are alike, and each task's images are those of its passes, one after the other, none left out."""
    numbers = [Numbers(size) for size in sizes]
    feed = TaskFeed(numbers, [1] * len(sizes), balance=balance)
    assert feed.shares(batch_size) == wanted
    walked = [[] for _ in sizes]
    for epoch in range(3):
        batches = list(feed.epoch(epoch, batch_size))
        assert len(batches) == feed.steps(batch_size) == -(-sum(sizes) // batch_size)
        assert sum(len(labels) for _, labels in batches) == feed.images(batch_size)
        for (rows,), labels in batches:
            assert torch.bincount(labels).tolist() == wanted
            for task, own in enumerate(walked):
                own.append(rows[labels == task])
    for side, own, often in zip(numbers, walked, feed.passes(batch_size), strict=True):
        found = torch.cat(own)
        assert len(found) == pytest.approx(3 * often * len(side))
        passes = [side.row(number) for number in range(len(found) // len(side) + 1)]
        assert torch.equal(found, torch.cat(passes)[: len(found)])


@pytest.mark.parametrize("shares", [[9, 23], [1, 15], [50, 50, 50]])
def test_parts_of_a_batch_have_images_of_every_task(shares):
    """The tasks' images are spread evenly: a part of a batch has its share of each, one more or less at most."""
    feed = TaskFeed([Numbers(10 * share) for share in shares], [1] * len(shares), balance=1.0)
    size = sum(shares)
    for _, labels in feed.epoch(0, size):
        for parts in (2, 4):
            for part in torch.split(labels, -(-size // parts)):
                found = torch.bincount(part, minlength=len(shares))
                due = torch.tensor(shares) * len(part) / size
                assert bool(((found - due).abs() <= 1).all())


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_every_batch_has_images_of_every_task(sides, balance):
    """Each step sees all tasks, with as many images of each as is said."""
    both = together(sides, balance)
    batches = list(both.epoch(0, 16))
    assert len(batches) == both.steps(16) == 7
    for (images,), targets in batches:
        assert [int((targets < 3).sum()), int((targets >= 3).sum())] == both.shares(16)
        assert len(images) == len(targets) == 16
        assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("balance", [0.0, 0.5])
def test_tasks_walk_through_their_own_passes_over_epochs(sides, balance):
    """From epoch to epoch each task goes on where it was, in the middle of a pass or in the next; none is skipped."""
    both = together(sides, balance)
    found = [[], []]
    for epoch in range(4):
        seen = 0
        for (images,), targets in both.epoch(epoch, 16):
            for own, mask in zip(found, (targets < 3, targets >= 3), strict=True):
                own.append(images[mask])
            seen += len(targets)
        assert both.images(16) == seen
    assert len(found[0]) == len(found[1]) == 4 * 7
    for side, batches in zip(sides, found, strict=True):
        own = torch.cat(batches)
        endless = torch.cat([batch for epoch in range(14) for (batch,), _ in side.epoch(epoch, 16)])
        assert torch.equal(own, endless[: len(own)])


def test_where_a_task_stands_follows_from_the_epoch(sides):
    """An epoch asked for by itself is the one that comes after the others: nothing but its number decides."""
    walked = together(sides, 0.5)
    for epoch in range(3):
        last = list(walked.epoch(epoch, 16))
    fresh = list(together(sides, 0.5).epoch(2, 16))
    for ((one,), labels), ((other,), targets) in zip(last, fresh, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(labels, targets)


def test_a_pass_may_be_cut_anywhere(sides, backbone, preprocess, tmp_path):
    """The same rows come where the pass is cut otherwise: of images, of kept and of live activations."""
    module = CPU.module(backbone.build(3)).eval()
    freeze(module, backbone, 1)
    cuts = Cuts(module, backbone, img_size=preprocess.img_size, folder=None)
    boundaries = Boundaries(cuts, "weights", CPU, ArrayCache(tmp_path, None), dtype=None, note=print)
    feeds = [
        sides[0],
        *(BoundaryFeed(sides[0], boundaries, cuts.at(1), keep=keep, keep_going=lambda: True) for keep in (True, False)),
    ]
    for feed in feeds:
        (whole,) = feed.epoch(1, 90)
        parts = list(feed.epoch(1, 16, cuts=[7, 20, 36, 90]))
        for (inputs, labels), start, stop in zip(parts, [7, 20, 36], [20, 36, 90], strict=True):
            assert torch.equal(labels, whole[1][start:stop])
            for one, other in zip(inputs, whole[0], strict=True):
                torch.testing.assert_close(one, other[start:stop])


def test_the_epoch_ends_where_the_host_says_stop(sides):
    """A task whose feed gives nothing any more ends the epoch instead of breaking it; whole batches before it count."""

    class Stopped(Numbers):
        def __init__(self, batches):
            super().__init__(100)
            self.batches = batches

        def epoch(self, epoch, batch_size, *, cuts=None):
            yield from islice(super().epoch(epoch, batch_size, cuts=cuts), self.batches)

    for batches in (0, 2):
        for both in ([Numbers(90), Stopped(batches)], [Stopped(batches), Numbers(90)]):
            assert [len(labels) for _, labels in together(both, 0.5).epoch(0, 16)] == [16] * batches


def batch(columns=5, count=12, first=0, classes=5, seed=0):
    """Logits and labels of some columns."""
    torch.manual_seed(seed)
    return torch.randn(count, columns, requires_grad=True), torch.randint(first, first + classes, (count,))


def both(seed=0):
    """Logits and labels of a batch of eight samples of a task with three classes and four of one with two."""
    torch.manual_seed(seed)
    labels = torch.cat([torch.randint(0, 3, (8,)), torch.randint(3, 5, (4,))])
    return torch.randn(12, 5, requires_grad=True), labels


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_loss_within_a_task_is_the_cross_entropy_of_its_columns(smoothing):
    """For each task the loss is that of its own columns alone, and only these get gradients."""
    loss = TaskLoss([3, 2], CPU, shares=[1, 1], smoothing=smoothing, weights=[0.5, 0.5])
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
    loss = TaskLoss([5], CPU, shares=[15.5], smoothing=0.1, weights=[1.0])
    assert torch.allclose(
        loss(logits, labels), functional.cross_entropy(logits, labels, label_smoothing=0.1), atol=1e-6
    )


def test_the_loss_is_the_sum_of_the_tasks_own():
    """Each task counts by its weight and not by its samples, and its logits get the gradients of its own mean."""
    loss = TaskLoss([3, 2], CPU, shares=[8, 4], smoothing=0.1, weights=[0.5, 1.5])
    logits, labels = batch(count=8, classes=3)
    more, others = batch(count=4, first=3, classes=2, seed=1)
    found = loss(torch.cat([logits, more]), torch.cat([labels, others]))
    found.backward()
    expected = 0.0
    for rows, targets, own, weight in ((logits, labels, slice(0, 3), 0.5), (more, others, slice(3, 5), 1.5)):
        alone = rows.detach()[:, own].clone().requires_grad_()
        mean = functional.cross_entropy(alone, targets - own.start, label_smoothing=0.1)
        expected += weight * mean
        (weight * mean).backward()
        torch.testing.assert_close(rows.grad[:, own], alone.grad)
    torch.testing.assert_close(found, expected)
    assert loss.weights() == [0.5, 1.5]


@pytest.mark.parametrize("weights", [[0.5, 1.5], None])
def test_parts_of_a_batch_add_up(weights):
    """The gradients of micro-batches, one of a single task and one of both, are those of the batch."""
    loss = TaskLoss([3, 2], CPU, shares=[8, 4], smoothing=0.1, weights=weights)
    logits, labels = both()
    (whole,) = torch.autograd.grad(loss(logits, labels), logits)
    (first,) = torch.autograd.grad(loss(logits[:5], labels[:5]) * 5 / 12, logits)
    (second,) = torch.autograd.grad(loss(logits[5:], labels[5:]) * 7 / 12, logits)
    torch.testing.assert_close(first + second, whole)


def test_uncertainty_begins_as_equal_weights():
    """At a variance of 1 the learned weighting has the loss and the gradients of weights of 1."""
    learned = TaskLoss([3, 2], CPU, shares=[8, 4], smoothing=0.1, weights=None)
    logits, labels = both()
    fixed = logits.detach().clone().requires_grad_()
    given = TaskLoss([3, 2], CPU, shares=[8, 4], smoothing=0.1, weights=[1.0, 1.0])
    found, expected = learned(logits, labels), given(fixed, labels)
    found.backward()
    expected.backward()
    assert torch.allclose(found, expected)
    assert torch.allclose(logits.grad, fixed.grad)
    assert learned.weights() == [1.0, 1.0]


def test_uncertainty_ends_where_the_paper_says():
    """Learned alone, a task's weight becomes half the inverse of its loss: a harder task counts less."""
    loss = TaskLoss([3, 2], CPU, shares=[8, 4], smoothing=0.0, weights=None)
    logits, labels = both()
    optimizer = torch.optim.Adam([loss.log_variances], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        loss(logits.detach(), labels).backward()
        optimizer.step()
    for weight, own, rows in zip(loss.weights(), (slice(0, 3), slice(3, 5)), (slice(0, 8), slice(8, 12)), strict=True):
        mean = functional.cross_entropy(logits.detach()[rows, own], labels[rows] - own.start)
        assert weight == pytest.approx(1 / (2 * float(mean)), rel=0.02)
