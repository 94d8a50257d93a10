"""The learning-rate range test."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from autotune.vision import Average, Images, Placement, Rates, Trained, find_rates, freeze, make_optimizer
from autotune.vision.ratefinder import HIGHEST, LOWEST, REACH, WORSE, steepest

CPU = Placement("cpu")


def training(backbone, *, lr=0.01, lr_blocks=0.002, opt="adamw"):
    """A small network ready to train."""
    torch.manual_seed(0)
    module = CPU.module(backbone.build(3)).eval()
    partition = freeze(module, backbone, 2)
    rates = Rates(lr=lr, lr_blocks=lr_blocks, layer_decay=0.5, opt=opt, momentum=0.9, weight_decay=0.0)
    live = {n: t for n, t in module.state_dict(keep_vars=True).items() if n in partition.trained}
    return Trained(
        module=module,
        partition=partition,
        optimizer=make_optimizer(module, partition, rates),
        average=Average(live, 0),
        placement=CPU,
        smoothing=0.0,
        mix=None,
        note=print,
        forward=module,
    )


def curve(backbone, split, preprocess, *, keep_going=lambda: True, steps=60, **keys):
    """A range test on coloured images."""
    images = Images(split, preprocess, CPU, seed=1)
    trained = training(backbone, **keys)
    lr = keys.get("lr", 0.01)
    return trained, find_rates(trained, images, lr=lr, batch_size=16, seed=1, keep_going=keep_going, steps=steps)


def test_rates_rise_geometrically_from_a_millionth_to_one(backbone, split, preprocess):
    """Each rate is the same multiple of the one before; the loss at each is a finite number."""
    _, found = curve(backbone, split, preprocess)
    assert found.rates[0] == pytest.approx(LOWEST)
    factors = np.diff(np.log(found.rates))
    assert np.allclose(factors, math.log(HIGHEST / LOWEST) / 59)
    assert len(found.rates) == len(found.losses) <= 60
    assert all(math.isfinite(loss) for loss in found.losses)


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_the_suggestion_lies_where_the_loss_falls(backbone, split, preprocess, opt):
    """It is one of the rates, not among the first, and around it the smoothed loss falls."""
    _, found = curve(backbone, split, preprocess, opt=opt)
    place = found.rates.index(found.suggested)
    assert place >= REACH
    assert found.losses[min(place + REACH // 2, len(found.losses) - 1)] < found.losses[place - REACH // 2]
    assert found.suggested > 1e-5


def test_all_rates_keep_their_ratio(backbone, split, preprocess):
    """While the head's rate rises the blocks' rise with it."""
    trained, found = curve(backbone, split, preprocess, steps=20, lr=0.1, lr_blocks=0.02)
    last = {group["peak"]: group["lr"] for group in trained.optimizer.param_groups}
    assert last[0.1] == pytest.approx(found.rates[-1])
    assert last[0.02] == pytest.approx(found.rates[-1] / 5)
    assert last[0.01] == pytest.approx(found.rates[-1] / 10)


def test_it_ends_when_the_loss_explodes(backbone, split, preprocess):
    """Blocks whose rate is far above the head's blow the loss up long before the head's rate is 1."""
    _, found = curve(backbone, split, preprocess, opt="sgd", lr=1e-4, lr_blocks=100.0)
    assert len(found.rates) < 60
    assert found.losses[-1] == max(found.losses)
    assert found.losses[-1] > WORSE * min(found.losses)


def test_it_obeys_when_told_to_stop(backbone, split, preprocess):
    """Told to stop after the third batch it has three points, and suggests nothing."""
    asked = []
    _, found = curve(backbone, split, preprocess, keep_going=lambda: asked.append(0) or len(asked) < 3)
    assert len(found.rates) == 3
    assert found.suggested is None


class Nothing:
    """A feed that was told to stop before its first batch."""

    def __len__(self):
        return 90

    def epoch(self, epoch, batch_size):
        """No batch."""
        yield from ()


def test_a_feed_without_batches_ends_it(backbone):
    """Where nothing comes nothing is waited for."""
    found = find_rates(training(backbone), Nothing(), lr=0.01, batch_size=16, seed=1, keep_going=lambda: True)
    assert (found.rates, found.suggested) == ((), None)


def test_it_is_the_same_for_the_same_seed(backbone, split, preprocess):
    """Nothing about it is left to chance."""
    assert curve(backbone, split, preprocess)[1] == curve(backbone, split, preprocess)[1]


def test_the_steepest_place_of_a_known_curve():
    """Of a loss that falls like a logistic curve over the logarithm it is the turning point."""
    rates = np.logspace(-6, 0, 100)
    losses = 2 - 1 / (1 + np.exp(-4 * (np.log10(rates) + 3)))
    assert steepest(rates, losses) == pytest.approx(1e-3, rel=0.1)
    assert steepest(rates, losses[::-1]) is None
    assert steepest(rates, np.ones(100)) is None
    assert steepest(rates[: 2 * REACH], losses[: 2 * REACH]) is None


def test_a_fall_is_told_from_what_batches_differ_by():
    """In noise larger than any step of the fall, the turning point is found within half a decade.

    Where there is nothing but noise, a rate is suggested now and then, and mostly none.
    """
    rates = np.logspace(-6, 0, 100)
    noise = [np.random.default_rng(seed).normal(0, 0.1, 100) for seed in range(50)]
    falling = 2 - 1 / (1 + np.exp(-4 * (np.log10(rates) + 3)))
    found = [steepest(rates, falling + one) for one in noise]
    assert all(rate is not None and 3e-4 < rate < 3e-3 for rate in found)
    assert sum(steepest(rates, 1 + one) is not None for one in noise) < 25
