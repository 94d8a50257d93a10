"""Heads on scaled features are heads on the features as they are."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from autotune.vision import HeadPlan, ManyHeads, Scaling, standard

IMAGES, FEATURES, CLASSES, BATCH = 150, 21, 4, 16
PLANS = [
    HeadPlan(lr=0.02, weight_decay=0.05, smoothing=0.1, warmup_steps=5, horizon=6),
    HeadPlan(lr=0.1, opt="sgd", weight_decay=0.01, drop=0.2, horizon=4),
    HeadPlan(lr=0.02, l1=0.1),
]


class Listed:
    """Rows of a tensor."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __len__(self):
        return len(self.tensor)

    def rows(self, indices):
        """Some of them."""
        return self.tensor[indices]


@pytest.fixture
def data():
    """Features of very different scales and means that tell the class, and labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(IMAGES) % CLASSES
    centres = torch.randn(CLASSES, FEATURES, generator=generator)
    features = centres[labels] + torch.randn(IMAGES, FEATURES, generator=generator)
    return features * torch.logspace(-1, 1, FEATURES) + torch.linspace(-3, 5, FEATURES), labels


def start(bias=True):
    """A new head."""
    torch.manual_seed(0)
    return torch.nn.Linear(FEATURES, CLASSES, bias=bias)


def train(heads, features, labels, epochs):
    """Trains some epochs."""
    for epoch in range(*epochs):
        heads.train_epoch(features, labels, epoch=epoch, batch_size=BATCH, seed=3, keep_going=lambda: True)


@pytest.mark.parametrize("bias", [True, False])
def test_folding_leaves_the_logits_and_can_be_undone(data, bias):
    """A head of scaled features, folded, says the same of unchanged ones; unfolded it is what it was."""
    scaling, head = Scaling.of(data[0], bias=bias), start(bias)
    weight, shift = scaling.folded(head.weight, head.bias)
    wanted = head(scaling.applied(data[0]))
    torch.testing.assert_close(functional.linear(data[0], weight, shift), wanted, rtol=1e-4, atol=1e-4)
    again, shift = scaling.unfolded(weight, shift)
    torch.testing.assert_close(again, head.weight)
    assert (shift is None) == (not bias)
    if bias:
        torch.testing.assert_close(shift, head.bias, rtol=1e-4, atol=1e-5)


def test_rows_are_scaled_as_the_whole_is(data):
    """Read row by row they are the tensor's rows, and the tensor that was given is left as it is."""
    before = data[0].clone()
    mean, scale = standard(data[0])
    scaling = Scaling.of(Listed(data[0]))
    whole, rows = scaling.applied(data[0]), scaling.applied(Listed(data[0]))
    torch.testing.assert_close(whole, (data[0] - mean) / scale)
    places = torch.tensor([5, 3, 140])
    assert len(rows) == IMAGES
    torch.testing.assert_close(rows.rows(places), whole[places])
    assert torch.equal(data[0], before)


def test_the_scale_of_the_features_does_not_matter(data):
    """Features fifty times as large, and shifted, end in the same probabilities from the same recipes."""
    found = []
    for features in (data[0], data[0] * 50 + 7):
        scaling = Scaling.of(features)
        zero = start()
        torch.nn.init.zeros_(zero.weight)
        heads = ManyHeads(PLANS, [zero] * len(PLANS), "cpu", scaling=scaling)
        train(heads, scaling.applied(features), data[1], (0, 3))
        found.append(dict(heads.probabilities(scaling.applied(features))))
    for place in range(len(PLANS)):
        assert abs(found[0][place] - found[1][place]).max() < 1e-3


def test_what_is_kept_is_an_ordinary_head(data):
    """The captured average says of unchanged features what the heads say of scaled ones; untrained, it is the start."""
    scaling = Scaling.of(data[0])
    heads = ManyHeads(PLANS, [start()] * len(PLANS), "cpu", scaling=scaling)
    torch.testing.assert_close(heads.averaged(0)[0], start().weight)
    torch.testing.assert_close(heads.capture(1, "fc")["model/fc.bias"], start().bias, rtol=1e-4, atol=1e-5)
    train(heads, scaling.applied(data[0]), data[1], (0, 3))
    for place, odds in heads.probabilities(scaling.applied(data[0])):
        kept = heads.capture(place, "fc")
        plain = functional.linear(data[0], kept["mean/fc.weight"], kept["mean/fc.bias"]).softmax(1)
        torch.testing.assert_close(plain, torch.from_numpy(odds), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_it_goes_on_bit_for_bit(data, bias):
    """Restored into new heads, the training goes on with what was trained, not with what folding rounded."""
    scaling = Scaling.of(data[0], bias=bias)
    features = scaling.applied(data[0])
    whole, first, second = (ManyHeads(PLANS, [start(bias)] * len(PLANS), "cpu", scaling=scaling) for _ in range(3))
    train(whole, features, data[1], (0, 4))
    train(first, features, data[1], (0, 2))
    for place in range(len(PLANS)):
        second.restore(place, first.capture(place, "a.fc"), "a.fc", first.steps(place))
    train(second, features, data[1], (2, 4))
    for place in range(len(PLANS)):
        one, two = whole.capture(place, "a.fc"), second.capture(place, "a.fc")
        assert one.keys() == two.keys()
        assert all(torch.equal(one[n], two[n]) for n in one)
