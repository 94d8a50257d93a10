"""Steps by CUDA graphs are the steps that they replace; where there are none, a line says why."""

from __future__ import annotations

import gc
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from autotune.vision import (
    Graphs,
    Images,
    Placement,
    train_epoch,
    train_step,
)
from autotune.vision.freezing import train_mode
from autotune.vision.graphs import PAYS, WARM
from autotune.vision.loop import gradient_step, plain_step

CPU, GPU = Placement("cpu"), Placement("cuda:0")
LONG = 10 * PAYS


@pytest.fixture
def training(training):
    """Rates that float32 holds exactly, unless there is a schedule, of seven steps an epoch for six epochs."""
    how = {"lr": 1 / 256, "layer_decay": 0.5, "drop": 0.0, "bn": "frozen", "warmup_steps": 0}
    return partial(training, **how, steps_per_epoch=7, epochs=6)


def run(trained, images, epochs):
    """Trains some epochs, of six batches of 13 images and one of 12."""
    for epoch in epochs:
        assert train_epoch(trained, images, epoch=epoch, batch_size=13, seed=1, keep_going=lambda: True) == 90


def batch(count=8, device="cuda:0"):
    """Images and labels on a device."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(count, 3, 16, 16, generator=generator).to(memory_format=torch.channels_last)
    return (images.to(device),), (torch.arange(count) % 3).to(device)


def state(trained):
    """Weights, averages and the optimiser's state."""
    moments = [value for of in trained.optimizer.state.values() for value in of.values()]
    return [*trained.average.live.values(), *trained.average.mean.values(), *moments]


def differ(one, two):
    """The largest difference between two trainings."""
    pairs = zip(state(one), state(two), strict=True)
    return max(float((a.detach().double() - b.detach().double()).abs().max()) for a, b in pairs)


@pytest.mark.parametrize(
    ("wish", "placement", "steps", "why"),
    [
        ("auto", GPU, LONG, None),
        ("never", GPU, LONG, "cuda_graphs=never"),
        ("auto", CPU, LONG, "no CUDA graphs on cpu"),
        ("auto", GPU, 12, f"12 are left, and it pays from {PAYS} on"),
    ],
)
def test_what_speaks_against_them_is_said(training, backbone, wish, placement, steps, why):
    """The recipe, the device, or too few steps; a trial is told on a GPU only, where there was something to choose."""
    trained, notes = training(backbone), []
    with Graphs(wish, placement, notes.append) as graphs:
        said = graphs.why_not(trained, steps)
        assert said is None if why is None else why in said
        graphs.begin(trained, steps)
        assert (trained.graphs is graphs) is (why is None)
    assert trained.graphs is None
    assert notes == ([f"steps are not captured as CUDA graphs: {why}"] if steps == 12 else [])


def test_an_optimiser_that_is_not_fused_is_not_captured(training, backbone):
    """Its state may lie on the CPU, where a graph changes nothing."""
    trained, graphs = training(backbone), Graphs("auto", GPU, print)
    trained.optimizer = torch.optim.Adagrad(trained.module.parameters())
    assert "Adagrad is not fused" in graphs.why_not(trained, LONG)


class Replayed(Graphs):
    """Takes no graph, but the same step on the same buffers: what goes around a graph, without a GPU."""

    def _aside(self, trained, inputs, targets):
        return plain_step(trained, inputs, targets)

    _watched = _aside

    def _capture(self, trained, inputs, targets):
        fixed = tuple(torch.empty_like(tensor) for tensor in (*inputs, targets))

        def replay(inputs, targets):
            for kept, given in zip(fixed, (*inputs, targets), strict=True):
                kept.copy_(given)
            return gradient_step(trained, fixed[:-1], fixed[-1])

        return SimpleNamespace(replay=replay)

    def _send_rates(self, trained):
        pass

    def _release(self):
        self._shapes.clear()


@pytest.mark.parametrize("how", [{}, {"mixup": 0.3, "cutmix": 1.0}, {"opt": "sgd", "kind": "cosine", "l2_sp": 0.5}])
def test_around_the_graphs_everything_is_as_usual(training, backbone, split, preprocess, how):
    """Steps, rates, penalties and averages of a training whose steps are taken elsewhere equal those of any other."""
    images = Images(split, preprocess, CPU, seed=1)
    usual, elsewhere = (training(backbone, **how) for _ in range(2))
    run(usual, images, range(5))
    with Replayed("auto", GPU, print) as graphs:
        graphs.begin(elsewhere, LONG)
        run(elsewhere, images, range(5))
        assert [seen.step is not None for seen in graphs._shapes.values()] == [True, True]
    assert differ(usual, elsewhere) == 0
    assert usual.steps == elsewhere.steps == 35


def test_memory_that_runs_out_ends_them_before_anything_is_halved(training, hungry, backbone):
    """What captured steps held is free first; only what does not fit then is computed in parts."""
    notes = []
    trained = training(backbone, notes=notes)
    trained.module.low = hungry(trained.module.low, most=8)
    with Replayed("auto", GPU, notes.append) as graphs:
        graphs.begin(trained, LONG)
        train_mode(trained.module, trained.partition, batch_statistics=False)
        for _ in range(WARM + 1):
            train_step(trained, *batch(device="cpu"))
        assert trained.graphs is graphs
        train_step(trained, *batch(12, "cpu"))
    assert (trained.graphs, trained.micro, trained.steps) == (None, 6, WARM + 2)
    assert [note.partition(":")[0] for note in notes] == [
        "steps are not captured as CUDA graphs from here on",
        "memory ran out with batches of 12 images",
    ]


@pytest.fixture
def exact(monkeypatch):
    """Float32 by kernels that give the same bits every time."""
    monkeypatch.setattr("autotune.vision.device._has_bf16", lambda device: False)
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


@pytest.mark.gpu
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"bn": "batch"},
        {"opt": "sgd", "bn": "batch", "kind": "cosine"},
        {"mixup": 0.3, "cutmix": 1.0},
        {"kind": "onecycle", "l1": 0.1, "l2_sp": 0.5},
    ],
)
@pytest.mark.usefixtures("exact")
def test_graphs_train_the_same_weights(training, backbone, split, preprocess, how):
    """Six epochs, most of their steps replayed, end in the weights, averages and moments of as many without."""
    images, notes = Images(split, preprocess, GPU, seed=1), []
    usual, replayed = (training(backbone, device="cuda:0", **how) for _ in range(2))
    run(usual, images, range(6))
    with Graphs("auto", GPU, notes.append) as graphs:
        graphs.begin(replayed, LONG)
        run(replayed, images, range(6))
        assert [seen.step is not None for seen in graphs._shapes.values()] == [True, True]
        assert replayed.graphs is graphs
    assert notes == [f"steps are replayed from CUDA graphs, after {WARM} of each size of batch"]
    assert differ(usual, replayed) < 1e-5
    assert all(type(group["lr"]) is float for group in replayed.optimizer.param_groups)


@pytest.mark.gpu
@pytest.mark.usefixtures("exact")
def test_what_is_trained_may_change_between_graphs(training, backbone, split, preprocess):
    """With fewer blocks trained from the third epoch on, the rest stays as it is, with graphs and without."""
    images = Images(split, preprocess, GPU, seed=1)
    found = []
    for wish in ("never", "auto"):
        trained = training(backbone, device="cuda:0")
        with Graphs(wish, GPU, print) as graphs:
            graphs.begin(trained, LONG)
            run(trained, images, range(2))
            before = trained.module.low[0].weight.detach().clone()
            trained.module.low.requires_grad_(False)
            graphs.begin(trained, LONG)
            run(trained, images, range(2, 4))
            assert (trained.graphs is graphs) is (wish == "auto")
        assert torch.equal(before, trained.module.low[0].weight)
        found.append(trained)
    assert differ(*found) < 1e-5


@pytest.mark.gpu
def test_draws_stay_random_and_follow_the_seed(training, backbone):
    """Replayed steps on one batch, with rates of zero, differ by their dropout; the same seed gives the same again."""
    trained = training(backbone, device="cuda:0", drop=0.5, lr=0.0)
    train_mode(trained.module, trained.partition, batch_statistics=False)
    inputs, targets = batch(64)

    def losses(count, seed):
        torch.manual_seed(seed)
        return [float(train_step(trained, inputs, targets)) for _ in range(count)]

    with Graphs("auto", GPU, print) as graphs:
        graphs.begin(trained, LONG)
        losses(WARM + 1, 0)
        first, other, again = losses(6, 1), losses(6, 2), losses(6, 1)
        assert trained.graphs is graphs
    assert len(set(first)) == 6
    assert first == again != other


class Unwilling(torch.nn.Module):
    """Waits for the GPU: in every step, or only while it is captured."""

    def __init__(self, inner, how):
        super().__init__()
        self.inner, self.how = inner, how

    def forward(self, x):
        """What is within."""
        if self.how == "reads":
            x = x * x.new_ones(()).item()
        elif torch.cuda.is_current_stream_capturing():
            if self.how == "raises":
                raise RuntimeError("this network is not captured\nbut trained")
            torch.cuda.synchronize()
        return self.inner(x)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("how", "why"), [("reads", "makes the GPU wait"), ("raises", "this network is not captured"), ("waits", "")]
)
@pytest.mark.usefixtures("exact")
def test_what_cannot_be_captured_is_trained_as_usual(training, backbone, split, preprocess, how, why):
    """The weights are those of a training without graphs, a line says why, and the next training has its graphs."""
    images, notes = Images(split, preprocess, GPU, seed=1), []
    usual, unwilling = (training(backbone, device="cuda:0") for _ in range(2))
    run(usual, images, range(3))
    unwilling.module.low = Unwilling(unwilling.module.low, how)
    with Graphs("auto", GPU, notes.append) as graphs:
        graphs.begin(unwilling, LONG)
        run(unwilling, images, range(3))
        graphs.begin(unwilling, LONG)
        assert unwilling.graphs is None
    (note,) = notes
    assert note.startswith("steps are not captured as CUDA graphs from here on: ")
    assert why in note
    assert differ(usual, unwilling) < 1e-5
    willing = training(backbone, device="cuda:0", drop=0.3)
    with Graphs("auto", GPU, notes.append) as graphs:
        graphs.begin(willing, LONG)
        run(willing, images, range(2))
        assert willing.graphs is graphs
    assert len(notes) == 2


@pytest.mark.gpu
@pytest.mark.parametrize("how", ["willing", "raises", "waits"])
def test_nothing_is_kept_of_what_was_captured(training, backbone, how):
    """Trainings with graphs, captured or not, leave no more memory taken after the third than after the second."""

    def train():
        trained = training(backbone, device="cuda:0")
        trained.module.low = Unwilling(trained.module.low, how) if how != "willing" else trained.module.low
        train_mode(trained.module, trained.partition, batch_statistics=False)
        with Graphs("auto", GPU, lambda line: None) as graphs:
            graphs.begin(trained, LONG)
            for _ in range(WARM + 3):
                train_step(trained, *batch(256))
            assert (trained.graphs is graphs) is (how == "willing")

    def taken():
        train()
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved()

    taken()
    before = taken()
    assert taken() <= before
