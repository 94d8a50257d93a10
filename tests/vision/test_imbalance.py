"""Classes of unequal size: weights, draws and adjusted logits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from autotune import AugmentationSpec
from autotune.builtin.policies import autotune_augmentations
from autotune.vision import Balancing, HeadPlan, Images, ManyHeads, Placement
from autotune.vision.imbalance import Draws, class_weights, in_batches, log_priors, quotas

CPU = Placement("cpu")
TRIVIAL = next(spec for spec in autotune_augmentations() if spec.name == "trivial")
COUNTS = st.lists(st.integers(0, 60), min_size=2, max_size=6).filter(lambda counts: sum(n > 0 for n in counts) > 1)
REMEDIES = ("weights", "sampling", "logits")


def labels_of(counts):
    """Labels with so many images of each class, in no order."""
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


def drawn_in(draws, epochs):
    """How often each image comes in some epochs."""
    return Counter(i for epoch in epochs for i in draws.epoch(epoch).tolist())


@given(COUNTS, st.floats(0, 3))
def test_an_epoch_draws_as_many_images_as_there_are(counts, power):
    """Quotas add up to the images; 0 gives every class what it has, 1 gives all the same to one image."""
    counts = np.array(counts)
    assert quotas(counts, power).sum() == counts.sum()
    assert quotas(counts, 0.0).tolist() == counts.tolist()
    even = quotas(counts, 1.0)[counts > 0]
    assert even.max() - even.min() <= 1
    assert not quotas(counts, power)[counts == 0].any()
    assert (quotas(counts, power)[counts > 0] > 0).all()


@settings(deadline=None)
@given(COUNTS, st.integers(0, 3))
def test_balanced_sampling_draws_each_class_equally_often(counts, seed):
    """In every epoch, to one image; and within a class each image as often as another, to one time, over all epochs."""
    labels = labels_of(counts)
    draws = Draws(labels, power=1.0, seed=seed)
    for epoch in range(3):
        classes = np.bincount(labels[draws.epoch(epoch).numpy()], minlength=len(counts))[np.array(counts) > 0]
        assert classes.max() - classes.min() <= 1
    for until in (1, 2, 5):
        times = drawn_in(draws, range(until))
        for label in range(len(counts)):
            own = [times[i] for i in np.flatnonzero(labels == label).tolist()]
            assert not own or max(own) - min(own) <= 1


@settings(deadline=None)
@given(COUNTS)
def test_sampling_without_strength_is_every_image_once(counts):
    """With power 0 an epoch has every image, once."""
    draws = Draws(labels_of(counts), power=0.0, seed=1)
    assert drawn_in(draws, [4]) == Counter(range(sum(counts)))


def test_draws_depend_on_seed_and_epoch_only():
    """An epoch is the same whatever was drawn before; another epoch or seed is not."""
    labels = labels_of([40, 9, 3])
    one, two = Draws(labels, power=1.0, seed=1), Draws(labels, power=1.0, seed=1)
    for epoch in range(3):
        one.epoch(epoch)
    assert torch.equal(one.epoch(5), two.epoch(5))
    assert not torch.equal(one.epoch(5), one.epoch(6))
    assert not torch.equal(one.epoch(5), Draws(labels, power=1.0, seed=2).epoch(5))


@given(COUNTS, st.floats(0, 2))
def test_weights_are_one_on_average_and_make_classes_count_alike(counts, power):
    """Over the images the mean is 1; with power 1 every class weighs the same, with 0 every image."""
    counts = np.array(counts)
    weights = class_weights(counts, power).double().numpy()
    assert weights @ counts == pytest.approx(counts.sum(), rel=1e-5)
    assert class_weights(counts, 0.0)[counts > 0].tolist() == pytest.approx([1.0] * (counts > 0).sum())
    per_class = (class_weights(counts, 1.0).double().numpy() * counts)[counts > 0]
    assert per_class == pytest.approx(np.full(len(per_class), per_class.mean()), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_weight_is_as_many_copies(smoothing):
    """Two images that weigh twice as much have the gradient of each being there twice."""
    labels = np.array([0] * 2 + [1] * 4)
    logits = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    loss = Balancing.of("weights", 1.0, labels, 2).loss(CPU, smoothing)
    copied = [0, 0, 1, 1, 2, 3, 4, 5]
    plain = functional.cross_entropy(logits[copied], torch.from_numpy(labels)[copied], label_smoothing=smoothing)
    assert loss(logits, torch.from_numpy(labels)).item() == pytest.approx(plain.item(), rel=1e-6)


@pytest.mark.parametrize("remedy", ["weights", "logits"])
def test_equal_frequencies_change_nothing(remedy):
    """Where all classes have as many images, the loss and its gradient are the plain ones, whatever the strength."""
    labels = np.arange(12) % 3
    targets = torch.from_numpy(labels)
    for power in (0.5, 1.0, 2.0):
        loss = Balancing.of(remedy, power, labels, 3).loss(CPU, 0.1)
        found = []
        for function in (loss, lambda x, t: functional.cross_entropy(x, t, label_smoothing=0.1)):
            logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
            value = function(logits, targets)
            value.backward()
            found.append((value.detach(), logits.grad))
        torch.testing.assert_close(found[0], found[1])


def test_adjusted_logits_are_those_of_equal_classes():
    """The loss is least where the network says log P(x | y), so that it errs least on classes of equal frequency.

    That is what Menon et al. prove (theorem 1): for images of four kinds that occur in each class so many times, the
    gradient vanishes there, and with the plain loss it does not.
    """
    table = np.array([[30, 10, 5, 5], [1, 2, 6, 1], [1, 1, 2, 8]])
    labels = np.repeat(np.arange(3), table.sum(axis=1))
    kinds = np.concatenate([np.repeat(np.arange(4), row) for row in table])
    given_class = torch.from_numpy(np.log(table / table.sum(axis=1, keepdims=True)).T.copy()).float()
    gradients = []
    for loss in (Balancing.of("logits", 1.0, labels, 3).loss(CPU, 0.0), functional.cross_entropy):
        logits = given_class.clone().requires_grad_()
        loss(logits[kinds], torch.from_numpy(labels)).backward()
        gradients.append(logits.grad.abs().max().item())
    assert gradients[0] < 1e-6 < 1e-2 < gradients[1]


@pytest.mark.parametrize("remedy", ["weights", "logits"])
def test_parts_of_a_batch_add_up_and_labels_may_be_probabilities(remedy):
    """Micro-batches weighted by their sizes are the batch; one-hot probabilities are labels."""
    labels = labels_of([9, 4, 2])
    targets = torch.from_numpy(labels)
    logits = torch.randn(15, 3, generator=torch.Generator().manual_seed(0))
    loss = Balancing.of(remedy, 1.0, labels, 3).loss(CPU, 0.1)
    whole = loss(logits, targets)
    parts = sum(loss(logits[part], targets[part]) * len(part) / 15 for part in torch.split(torch.arange(15), 4))
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(whole, loss(logits, functional.one_hot(targets, 3).float()))


def test_a_class_without_images_does_no_harm():
    """Its weight is 0 and its logits stay finite: the loss is a number."""
    labels = np.array([0, 0, 2])
    assert class_weights(np.array([2, 0, 1]), 1.0)[1] == 0
    assert torch.isfinite(log_priors(np.array([2, 0, 1]), 1.0)).all()
    for remedy in ("weights", "logits"):
        loss = Balancing.of(remedy, 1.0, labels, 3).loss(CPU, 0.1)
        assert torch.isfinite(loss(torch.zeros(3, 3), torch.from_numpy(labels)))


def test_without_a_remedy_nothing_is_changed():
    """No weights, no shift, every image once, and the plain loss; sampling has the plain loss too."""
    labels = labels_of([9, 4])
    off = Balancing.of("none", 1.0, labels, 2)
    assert (off, off.loss(CPU, 0.1)) == (Balancing(), None)
    sampling = Balancing.of("sampling", 0.7, labels, 2)
    assert (sampling.power, sampling.loss(CPU, 0.1)) == (0.7, None)


def brighter(size, interpolation):
    """A guest's policy: other brightness in every draw."""
    return lambda image: (torch.ones(3, size, size) * torch.rand(()) * 255).to(torch.uint8)


@pytest.mark.parametrize("spec", [TRIVIAL, AugmentationSpec(name="guest", summary="", build=brighter)])
def test_an_image_that_comes_twice_is_drawn_twice(preprocess, coloured, spec):
    """Balanced, a rare image comes several times an epoch, each time otherwise, and the batches play no part."""
    side = coloured(60).take(list(range(2)) + [i for i in range(60) if coloured(60).labels[i] == 1])
    images = Images(side, preprocess, CPU, seed=1, policy=spec, power=1.0)
    seen = torch.cat([inputs for (inputs,), _ in images.epoch(0, 7)])
    order = torch.cat(list(images.order(0, 7)))
    assert len(seen) == len(order) == len(side)
    most, times = Counter(order.tolist()).most_common(1)[0]
    assert times > 1
    assert len({image.numpy().tobytes() for image in seen[order == most]}) == times
    assert torch.equal(seen, torch.cat([inputs for (inputs,), _ in images.epoch(0, 50)]))
    targets = torch.cat([targets for _, targets in images.epoch(0, 7)])
    assert torch.equal(targets, torch.from_numpy(side.labels)[order])


def ordinary(plan, start, features, labels, balancing, orders):
    """A head trained the ordinary way, by autograd and torch's optimiser."""
    linear = torch.nn.Linear(start.in_features, start.out_features)
    linear.load_state_dict(start.state_dict())
    groups = [{"params": [linear.weight], "weight_decay": plan.weight_decay}, {"params": [linear.bias]}]
    optimizer = torch.optim.AdamW(groups, lr=plan.lr, betas=(plan.momentum, 0.999), weight_decay=0.0)
    loss = balancing.loss(CPU, plan.smoothing)
    for order in orders:
        for part in order:
            logits = linear(features[part])
            if loss is None:
                value = functional.cross_entropy(logits, labels[part], label_smoothing=plan.smoothing)
            else:
                value = loss(logits, labels[part])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return linear


@pytest.mark.parametrize("remedy", REMEDIES)
def test_many_heads_learn_what_one_learns_by_itself(remedy):
    """With each remedy heads of a batch end, to rounding, where autograd and torch's optimiser end."""
    labels = labels_of([60, 25, 8])
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(labels), 7, generator=generator)
    targets = torch.from_numpy(labels)
    torch.manual_seed(2)
    start = torch.nn.Linear(7, 3)
    plans = [HeadPlan(lr=0.02, smoothing=0.1), HeadPlan(lr=0.01, weight_decay=0.1)]
    balancing = Balancing.of(remedy, 1.0, labels, 3)
    draws = Draws(labels, power=balancing.power, seed=5)
    orders = [in_batches(draws.epoch(epoch), 16) for epoch in range(3)]
    heads = ManyHeads(plans, [start] * 2, "cpu", balancing)
    for epoch, order in enumerate(orders):
        heads.train_epoch(features, targets, epoch=epoch, batch_size=16, seed=5, keep_going=lambda: True, order=order)
    for place, plan in enumerate(plans):
        weight, bias = heads.averaged(place)
        expected = ordinary(plan, start, features, targets, balancing, orders)
        torch.testing.assert_close(weight, expected.weight.detach(), rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(bias, expected.bias.detach(), rtol=1e-3, atol=1e-5)
