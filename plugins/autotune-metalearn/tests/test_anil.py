"""ANIL: only the head adapts, on vectors that are computed once."""

from __future__ import annotations

import pytest
import torch
from autotune_metalearn.anil import Anil
from autotune_metalearn.episodes import Drawer, Episodes
from autotune_metalearn.fewshot import accuracies, descend, linear
from autotune_metalearn.network import Network
from autotune_metalearn.reading import Sides
from autotune_metalearn.settings import Settings
from torch.nn import functional

from autotune.vision import derive

QUICK = {"ways": 3, "shots": 2, "queries": 3, "tasks": 4, "inner_steps": 3, "width": 8}


def learner(network: Network, sides: Sides, **changes: object) -> Anil:
    """A meta-training of the tiny network."""
    return Anil(network, sides.train, sides.val, Settings.of("anil", **{**QUICK, **changes}))


@pytest.fixture
def episodes(sides: Sides) -> Episodes:
    """Meta-validation tasks."""
    return Drawer(sides.val.split.labels).draw(20, ways=3, shots=2, queries=3, seed=0)


def test_the_start_is_descent_on_plain_features(vectors: Network, sides: Sides, episodes: Episodes) -> None:
    """With all components kept, turning the vectors changes nothing: the adapted heads answer alike."""
    anil = learner(vectors, sides, width=10_000)
    assert anil.width == vectors.linear().in_features
    train, val = vectors.features(sides.train.split), vectors.features(sides.val.split)
    plain = (val - train.mean(0)) / (train - train.mean(0)).square().sum(1).mean().sqrt()
    zeros = torch.zeros(3, plain.shape[1]), torch.zeros(3)
    *_, last = descend(plain[episodes.support], episodes.support_labels, *zeros, rate=2.0, steps=3)
    expected = accuracies(linear(plain[episodes.query], *last), episodes.query_labels)
    assert float((anil.accuracies(episodes) - expected).abs().mean()) < 0.02
    with torch.no_grad():
        lengths = anil._projected(anil.train, torch.arange(len(train)).unsqueeze(0)).square().sum(2)
    assert float(lengths.mean()) == pytest.approx(1.0, abs=1e-3)


def test_the_inner_steps_change_nothing_that_is_kept(vectors: Network, sides: Sides, episodes: Episodes) -> None:
    """Adapting to tasks leaves the projection and the head where they were, bit by bit."""
    anil = learner(vectors, sides)
    before = anil.state()
    anil.accuracies(episodes)
    assert all(torch.equal(t, before[n]) for n, t in anil.state().items())


def test_an_outer_step_is_first_order(vectors: Network, sides: Sides) -> None:
    """The mean of every task's own gradients, taken one by one, with the adapted head as a constant."""
    anil = learner(vectors, sides, seed=3)
    with torch.no_grad():
        anil.head.weight.normal_(std=0.1)
    start = {n: t.clone() for n, t in anil.learned.state_dict().items()}
    tasks = anil.drawer.draw(4, ways=3, shots=2, queries=3, seed=derive(3, "task", 5))
    anil.step(5)
    found = {n: p.grad.clone() for n, p in anil.learned.named_parameters()}
    anil.restore(start)
    expected = {n: torch.zeros_like(t) for n, t in start.items()}
    for support, query in zip(tasks.support, tasks.query, strict=True):
        head = torch.nn.Linear(8, 3)
        head.load_state_dict(anil.head.state_dict())
        optimizer = torch.optim.SGD(head.parameters(), lr=2.0)
        given = ((anil.train[support] - anil.centre) / anil.scale) @ start["projection.weight"].T
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(head(given), tasks.support_labels).backward()
            optimizer.step()
        optimizer.zero_grad()
        anil.projection.zero_grad()
        asked = anil.projection((anil.train[query] - anil.centre) / anil.scale)
        functional.cross_entropy(head(asked), tasks.query_labels).backward()
        for name, parameter in (("projection.weight", anil.projection.weight), ("head.weight", head.weight)):
            expected[name] += parameter.grad / 4
    for name in ("projection.weight", "head.weight"):
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-3)


def test_learning_raises_the_validation_accuracy_of_the_classes_it_saw(vectors: Network, sides: Sides) -> None:
    """Asked about the classes that it learns from, the projection gets better."""
    anil = Anil(vectors, sides.train, sides.train, Settings.of("anil", **QUICK, outer_lr=3e-3))
    tasks = Drawer(sides.train.split.labels).draw(200, ways=3, shots=2, queries=3, seed=9)
    before = float(anil.accuracies(tasks).mean())
    for number in range(60):
        anil.step(number)
    assert float(anil.accuracies(tasks).mean()) > before


def test_the_result_computes_what_was_learned(vectors: Network, sides: Sides) -> None:
    """Centre, scale, projection and head are in the network; everything beneath is as it was, bit by bit."""
    anil = learner(vectors, sides)
    before = {n: t.clone() for n, t in vectors.module.state_dict().items()}
    anil.step(0)
    with torch.no_grad():
        expected = anil.head(anil._projected(anil.val, torch.arange(6).unsqueeze(0)))[0]
    (inputs,) = next(iter(vectors.rows(sides.val.split).images.plain()))
    module = anil.result()
    with torch.no_grad():
        torch.testing.assert_close(module(inputs[:6]), expected, atol=1e-4, rtol=1e-4)
    after = module.state_dict()
    assert all(torch.equal(after[n], t) for n, t in before.items() if not n.startswith("fc."))
