from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from autotune.errors import CheckpointError
from autotune.vision import (
    Average,
    HeadPlan,
    ManyHeads,
    Partition,
    Rates,
    Schedule,
    averaged,
    derive,
    heads_that_fit,
    make_optimizer,
    make_penalties,
    set_rates,
)
from autotune.vision.headplans import LEAST, MOST, Dice
from autotune.vision.images import shuffled

IMAGES, FEATURES, CLASSES, BATCH, SEED = 150, 21, 4, 16, 3

PLANS = {
    "adamw": HeadPlan(lr=0.02, opt="adamw", weight_decay=0.05, smoothing=0.1, warmup_steps=5, horizon=6),
    "sgd": HeadPlan(lr=0.1, opt="sgd", weight_decay=0.01, smoothing=0.05, warmup_steps=3, horizon=4),
    "plain": HeadPlan(lr=0.01),
    "no momentum": HeadPlan(lr=0.3, opt="sgd", momentum=0.0, horizon=2.0),
    "adamw drop": HeadPlan(lr=0.01, weight_decay=0.1, momentum=0.8, drop=0.3, smoothing=0.1, horizon=9),
    "adamw drop more": HeadPlan(lr=0.03, drop=0.5, warmup_steps=20, horizon=3),
    "sgd drop": HeadPlan(lr=0.05, opt="sgd", momentum=0.95, weight_decay=0.02, drop=0.15),
}
FURTHER = {
    "adamw l1": HeadPlan(lr=0.02, l1=0.1, weight_decay=0.01, warmup_steps=5, horizon=6),
    "sgd l1 cosine": HeadPlan(
        lr=0.1, opt="sgd", l1=0.1, schedule=Schedule(kind="cosine", steps_per_epoch=10, epochs=4, warmup=0.3)
    ),
    "adamw onecycle": HeadPlan(lr=0.05, schedule=Schedule(kind="onecycle", steps_per_epoch=10, epochs=4), horizon=3),
}


@pytest.fixture
def data():
    """Features that tell the class, and labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(IMAGES) % CLASSES
    centres = torch.randn(CLASSES, FEATURES, generator=generator)
    return centres[labels] + torch.randn(IMAGES, FEATURES, generator=generator), labels


def start(seed=0, bias=True, features=FEATURES):
    """A new head."""
    torch.manual_seed(seed)
    return torch.nn.Linear(features, CLASSES, bias=bias)


def train(heads, data, epochs, keep_going=lambda: True):
    """Trains some epochs; returns the images seen in each."""
    return [
        heads.train_epoch(*data, epoch=e, batch_size=BATCH, seed=SEED, keep_going=keep_going) for e in range(*epochs)
    ]


def ordinary(plan, linear, data, epochs):
    """The ordinary way: torch's optimiser, autograd, and the same masks where there is dropout."""
    features, labels = data
    partition = Partition(head=frozenset(linear.state_dict()), blocks=(), unfreeze=0)
    rates = Rates(
        lr=plan.lr,
        lr_blocks=plan.lr,
        layer_decay=1.0,
        opt=plan.opt,
        momentum=plan.momentum,
        weight_decay=plan.weight_decay,
        l1=plan.l1,
    )
    optimizer = make_optimizer(linear, partition, rates)
    penalties = make_penalties(optimizer)
    average = Average(linear.state_dict(keep_vars=True), plan.horizon)
    width = -(-(FEATURES + 1) // 16) * 16
    for epoch in range(epochs):
        dice = Dice(derive(SEED, "drop", epoch), torch.device("cpu"), BATCH, width)
        for part in shuffled(IMAGES, BATCH, SEED, epoch):
            inputs = features[part]
            if plan.drop:
                draws = dice(len(part))[:, :FEATURES].double()
                kept = (draws - LEAST) / (MOST - LEAST + 1) >= round(plan.drop * 2**16) / 2**16
                inputs = inputs * kept / (1 - plan.drop)
            warm = min(1.0, (average.steps + 1) / max(1, plan.warmup_steps))
            set_rates(optimizer, warm if plan.schedule is None else plan.schedule(average.steps))
            loss = functional.cross_entropy(linear(inputs), labels[part], label_smoothing=plan.smoothing)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if penalties is not None:
                penalties()
            average.update()
    return average


def close(one, other, tolerance=1e-4):
    """Whether two states hold the same tensors, to rounding."""
    assert one.keys() == other.keys()
    return all(torch.allclose(one[n], other[n], rtol=tolerance, atol=tolerance / 10) for n in one)


@pytest.mark.parametrize("name", [*PLANS, *FURTHER])
def test_one_head_is_the_ordinary_training(data, name):
    """Over four epochs a head and its average stay equal, to rounding, to torch's optimiser with autograd."""
    plan, linear = (PLANS | FURTHER)[name], start()
    heads = ManyHeads([plan], [linear], "cpu")
    assert train(heads, data, (0, 4)) == [IMAGES] * 4
    average = ordinary(plan, linear, data, 4)
    state = heads.capture(0, "head")
    for part in ("weight", "bias"):
        torch.testing.assert_close(state[f"model/head.{part}"], linear.state_dict()[part], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(state[f"mean/head.{part}"], average.mean[part], rtol=1e-4, atol=1e-5)
    assert heads.steps(0) == average.steps == 40


def test_a_head_does_not_feel_the_others(data):
    """Every head of a mixed batch, dropout included, ends as it does alone, optimiser and average too."""
    plans = list(PLANS.values()) * 3
    starts = [start(seed) for seed in range(len(plans))]
    together = ManyHeads(plans, starts, "cpu")
    train(together, data, (0, 3))
    for place, (plan, begin) in enumerate(zip(plans, starts, strict=True)):
        alone = ManyHeads([plan], [begin], "cpu")
        train(alone, data, (0, 3))
        assert close(together.capture(place, "fc"), alone.capture(0, "fc")), plan


def test_schedules_and_l1_are_a_heads_own(data):
    """Beside heads without them, those with schedules and L1 end as they do alone; with L1 some weights are zero."""
    plans = [*FURTHER.values(), PLANS["adamw"], PLANS["sgd"]]
    together = ManyHeads(plans, [start()] * len(plans), "cpu")
    train(together, data, (0, 3))
    for place, plan in enumerate(plans):
        alone = ManyHeads([plan], [start()], "cpu")
        train(alone, data, (0, 3))
        assert close(together.capture(place, "fc"), alone.capture(0, "fc")), plan
        assert bool((together.capture(place, "fc")["model/fc.weight"] == 0).any()) == (plan.l1 > 0)


def test_a_head_that_left_changes_nothing_for_the_others(data):
    """After half of the heads left, the others go on as if they had been alone; the places stay."""
    plans = list(PLANS.values())
    together = ManyHeads(plans, [start()] * len(plans), "cpu")
    train(together, data, (0, 2))
    for place in (0, 2, 5):
        together.drop(place)
    assert together.places == (1, 3, 4, 6)
    train(together, data, (2, 4))
    for place in together.places:
        alone = ManyHeads([plans[place]], [start()], "cpu")
        train(alone, data, (0, 4))
        assert close(together.capture(place, "fc"), alone.capture(0, "fc"))


def test_dropping_heads_frees_their_tensors(data):
    """A group of one head left over from four holds a quarter of the numbers."""
    heads = ManyHeads([PLANS["adamw"]] * 4, [start()] * 4, "cpu")
    train(heads, data, (0, 1))
    before = heads._heads[3].weight.untyped_storage().nbytes()
    for place in range(3):
        heads.drop(place)
    train(heads, data, (1, 2))
    assert heads._heads[3].weight.untyped_storage().nbytes() == before / 4


def test_one_head_that_diverges_is_named_and_harms_no_other(data):
    """With an absurd rate one head's weights become infinite; its neighbour in the same product is as if alone."""
    wild = HeadPlan(lr=1e30, opt="sgd", weight_decay=10.0)
    heads = ManyHeads([PLANS["sgd"], wild, PLANS["sgd"]], [start()] * 3, "cpu")
    train(heads, data, (0, 2))
    assert heads.diverged() == (1,)
    heads.drop(1)
    train(heads, data, (2, 3))
    assert heads.diverged() == ()
    alone = ManyHeads([PLANS["sgd"]], [start()], "cpu")
    train(alone, data, (0, 3))
    for place in (0, 2):
        assert close(heads.capture(place, "fc"), alone.capture(0, "fc"))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["adamw", "no momentum", "sgd drop", "sgd l1 cosine"])
def test_a_restored_head_goes_on_bit_for_bit(data, name, bias):
    """Two epochs, saved and restored into a new head, then two more, equal four without a break."""
    whole = ManyHeads([(PLANS | FURTHER)[name]], [start(bias=bias)], "cpu")
    train(whole, data, (0, 4))
    first = ManyHeads([(PLANS | FURTHER)[name]], [start(bias=bias)], "cpu")
    train(first, data, (0, 2))
    second = ManyHeads([(PLANS | FURTHER)[name]], [start(9, bias=bias)], "cpu")
    second.restore(0, first.capture(0, "a.fc"), "a.fc", first.steps(0))
    train(second, data, (2, 4))
    one, two = whole.capture(0, "a.fc"), second.capture(0, "a.fc")
    assert one.keys() == two.keys()
    assert ("model/a.fc.bias" in one) == bias
    assert all(torch.equal(one[n], two[n]) for n in one)


@pytest.mark.parametrize("name", ["adamw", "sgd", "no momentum"])
def test_the_state_bears_the_names_of_a_whole_network(data, name):
    """What the ordinary optimiser keeps is kept under the same names with the same values."""
    plan, linear = PLANS[name], start()
    heads = ManyHeads([plan], [linear], "cpu")
    train(heads, data, (0, 1))
    partition = Partition(head=frozenset(linear.state_dict()), blocks=(), unfreeze=0)
    rates = Rates(lr=1, lr_blocks=1, layer_decay=1, opt=plan.opt, momentum=plan.momentum, weight_decay=0)
    optimizer = make_optimizer(linear, partition, rates)
    linear(data[0]).sum().backward()
    optimizer.step()
    state = {f"opt/fc.{n}/{key}" for n, p in linear.named_parameters() for key in optimizer.state[p]}
    kept = {f"opt/fc.{n}/{k}" for n, p in linear.named_parameters() for k, v in optimizer.state[p].items() if v is None}
    found = heads.capture(0, "fc")
    assert {n for n in found if n.startswith("opt/")} == state - kept
    assert averaged(found).keys() == {"fc.weight", "fc.bias"}
    if name == "adamw":
        assert found["opt/fc.bias/step"] == 10


def test_another_heads_state_is_refused(data):
    """A state of other classes, of another name or without a bias is not taken."""
    heads = ManyHeads([PLANS["adamw"]], [start()], "cpu")
    for state in (
        ManyHeads([PLANS["adamw"]], [start(features=20)], "cpu").capture(0, "fc"),
        heads.capture(0, "classifier"),
        ManyHeads([PLANS["adamw"]], [start(bias=False)], "cpu").capture(0, "fc"),
    ):
        with pytest.raises(CheckpointError, match=r"the checkpoint holds no model/fc.weight"):
            heads.restore(0, state, "fc", 0)


def test_probabilities_are_those_of_the_averaged_weights(data):
    """For every head they are the softmax of its averaged linear layer, places kept when others left."""
    plans = list(PLANS.values())
    heads = ManyHeads(plans, [start(i) for i in range(len(plans))], "cpu")
    train(heads, data, (0, 1))
    heads.drop(1)
    found = dict(heads.probabilities(data[0]))
    assert sorted(found) == sorted(heads.places) == [0, 2, 3, 4, 5, 6]
    for place, probabilities in found.items():
        weight, bias = heads.averaged(place)
        wanted = functional.linear(data[0], weight, bias).softmax(1)
        assert probabilities.shape == (IMAGES, CLASSES)
        np.testing.assert_allclose(probabilities, wanted.numpy(), rtol=1e-4, atol=1e-6)


def test_scoring_a_few_heads_and_images_at_a_time_changes_nothing(data, monkeypatch):
    """With room for the numbers of one head and some images, every probability is the same."""
    plans = list(PLANS.values())
    heads = ManyHeads(plans, [start(i) for i in range(len(plans))], "cpu")
    train(heads, data, (0,))
    wanted = dict(heads.probabilities(data[0]))
    monkeypatch.setattr("autotune.vision.manyheads.SCORED", CLASSES * IMAGES // 3)
    found = dict(heads.probabilities(data[0]))
    assert list(found) == list(wanted)
    for place, probabilities in found.items():
        np.testing.assert_allclose(probabilities, wanted[place], rtol=1e-5, atol=1e-7)


def test_it_stops_after_the_batch_in_which_it_is_told_to(data):
    """Stopped after the third batch it has seen three batches, taken three steps, and says so."""
    heads = ManyHeads([PLANS["adamw"], PLANS["sgd drop"]], [start()] * 2, "cpu")
    asked = []
    seen = train(heads, data, (0, 1), keep_going=lambda: asked.append(0) or len(asked) < 3)
    assert seen == [3 * 15]
    assert [heads.steps(i) for i in heads.places] == [3, 3]


def test_dropout_takes_its_share():
    """Of a million features the asked share is dropped, within four standard deviations, and epochs differ."""
    plan = HeadPlan(lr=1, drop=0.3)
    draws = Dice(1, torch.device("cpu"), 1000, 1008)(1000)
    dropped = (draws < plan.threshold).double().mean().item()
    assert abs(dropped - 0.3) < 4 * math.sqrt(0.3 * 0.7 / draws.numel())
    assert math.isclose(plan.stays, 0.7, abs_tol=1e-5)
    assert not torch.equal(draws, Dice(2, torch.device("cpu"), 1000, 1008)(1000))
    assert torch.equal(draws, Dice(1, torch.device("cpu"), 1000, 1008)(1000))


def test_heads_learn(data):
    """Twenty epochs of every plan tell the classes apart."""
    plans = list(PLANS.values())
    heads = ManyHeads(plans, [start()] * len(plans), "cpu")
    train(heads, data, (0, 20))
    for _, probabilities in heads.probabilities(data[0]):
        assert (probabilities.argmax(1) == data[1].numpy()).mean() > 0.9


@pytest.mark.gpu
def test_a_gpu_trains_the_same_heads(data):
    """On a CUDA device the heads without dropout end where they end on the CPU."""
    plans = [plan for plan in PLANS.values() if not plan.drop]
    here, there = (ManyHeads(plans, [start()] * len(plans), device) for device in ("cpu", "cuda"))
    train(here, data, (0, 3))
    train(there, tuple(t.cuda() for t in data), (0, 3))
    for place in here.places:
        moved = {n: t.cpu() for n, t in there.capture(place, "fc").items()}
        assert close(here.capture(place, "fc"), moved, tolerance=1e-2)


def test_memory_decides_how_many_heads_are_trained_at_once():
    """64 small heads always fit; of 10,000 classes on 2,048 features a few do in 24 GB, and words say why."""
    large = {"classes": 10_000, "features": 2048, "batch": 64}
    assert heads_that_fit(64, "cpu", 2**30, classes=10, features=1280, batch=64) == (64, "")
    most, why = heads_that_fit(64, "cuda:0", 24 * 10**9, **large)
    assert 25 < most < 12e9 / (4 * 4 * 10_000 * 2048)
    assert why == (
        f"{most} of 64 heads are trained at once: a head of 10,000 classes on 2,048 features takes 330 MB in training, "
        "and 24 GB are free"
    )
    assert heads_that_fit(most, "cuda:0", 24 * 10**9, **large) == (most, "")
    assert heads_that_fit(64, "cpu", 0, **large)[0] == 1
    found = [heads_that_fit(64, "cuda:0", free * 10**9, **large)[0] for free in range(64)]
    assert found == sorted(found)
    assert found[-1] == 64


@pytest.mark.gpu
@pytest.mark.parametrize("count", [2, 12])
def test_on_a_gpu_heads_take_no_more_than_they_were_given(count):
    """Made, trained, and put side by side anew after one has left, they stay within half of what was free."""
    classes, features, batch = 4000, 1000, 64
    free = next(
        f
        for f in range(0, 10**11, 10**7)
        if heads_that_fit(count, "cuda:0", f, classes=classes, features=features, batch=batch)[1] == ""
    )
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    linear = torch.nn.Linear(features, classes)
    heads = ManyHeads([HeadPlan(lr=0.01, drop=0.1)] * count, [linear] * count, "cuda:0")
    inputs = torch.randn(batch, features, device="cuda:0")
    labels = torch.arange(batch, device="cuda:0")
    for epoch in range(2):
        heads.train_epoch(inputs, labels, epoch=epoch, batch_size=batch, seed=0, keep_going=lambda: True)
        heads.drop(epoch)
        if not heads.places:
            break
    assert torch.cuda.max_memory_allocated() - before <= free / 2 + 10**7
