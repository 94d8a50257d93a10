"""Compiling is decided by what is left, and taken back where it does not help."""

from __future__ import annotations

import functools

import pytest
import torch

from autotune.vision import Average, Compiling, Partition, Placement, Rates, Trained, make_optimizer, train_epoch

CPU, GPU = Placement("cpu"), Placement("cuda:0")


class Points:
    """Forty points of two classes that lie apart."""

    def __init__(self):
        self.labels = torch.arange(40) % 2
        self.inputs = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)) + 3 * self.labels[:, None]

    def __len__(self):
        return 40

    def epoch(self, epoch, batch_size):
        """In their own order."""
        for part in torch.split(torch.arange(40), batch_size):
            yield (self.inputs[part],), self.labels[part]

    def plain(self):
        """All at once."""
        yield (self.inputs,)


def linear():
    """A linear layer in training."""
    torch.manual_seed(0)
    module = torch.nn.Linear(4, 2)
    partition = Partition(head=frozenset(module.state_dict()), blocks=(), unfreeze=0)
    rates = Rates(lr=0.01, lr_blocks=0.01, layer_decay=1.0, opt="adamw", momentum=0.9, weight_decay=0.0)
    return Trained(
        module=module,
        partition=partition,
        optimizer=make_optimizer(module, partition, rates),
        average=Average(dict(module.state_dict(keep_vars=True)), 0),
        placement=CPU,
        smoothing=0.0,
        mix=None,
        warmup_steps=0,
        note=print,
        forward=module,
    )


@pytest.mark.parametrize(
    ("wish", "placement", "seconds", "compiled"),
    [
        ("auto", CPU, 10_000.0, False),
        ("auto", GPU, 10.0, False),
        ("auto", GPU, 1000.0, True),
        ("never", GPU, 10_000.0, False),
        ("always", CPU, 0.1, True),
    ],
)
def test_it_is_decided_by_the_device_and_by_what_is_left(wish, placement, seconds, compiled):
    """On a GPU with much left, or when it is asked for; then a note says how much was left."""
    trained, notes = linear(), []
    eager = trained.forward
    Compiling(wish, placement, notes.append).after_epoch(trained, seconds, left=2)
    assert (trained.forward is not eager) is compiled
    assert len(notes) == compiled


def test_what_is_slower_is_taken_back():
    """A second compiled epoch that takes longer than the eager one ends the compiling, with both times."""
    trained, notes = linear(), []
    eager = trained.forward
    compiling = Compiling("auto", GPU, notes.append)
    for seconds in (700.0, 900.0, 800.0, 700.0):
        compiling.after_epoch(trained, seconds, left=5)
    assert trained.forward is eager
    assert notes[1:] == ["compiled code is not used: 800 s an epoch, 700 s without"]


def broken(graph, inputs):
    """A compiler that is not there."""
    raise OSError("no C++ compiler")


@pytest.mark.parametrize("wish", ["auto", "always"])
def test_a_compiler_that_fails_ends_no_training_unless_it_was_asked_for(wish, monkeypatch):
    """Under ``auto`` the training goes on without, and a note says why; ``always`` fails."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=broken))
    trained, notes = linear(), []
    Compiling(wish, GPU, notes.append).after_epoch(trained, 1000.0, left=5)
    epoch = functools.partial(train_epoch, trained, Points(), epoch=1, batch_size=16, seed=0, keep_going=lambda: True)
    if wish == "always":
        with pytest.raises(RuntimeError, match="no C\\+\\+ compiler"):
            epoch()
        return
    assert epoch() == 40
    assert [note for note in notes if note.startswith("not compiled")]


@pytest.mark.slow
def test_compiled_training_is_the_same_training():
    """Two epochs by compiled code end in the weights of two epochs without, to rounding."""
    ends = []
    for wish in ("never", "always"):
        trained = linear()
        compiling = Compiling(wish, CPU, print)
        for epoch in range(3):
            train_epoch(trained, Points(), epoch=epoch, batch_size=16, seed=0, keep_going=lambda: True)
            compiling.after_epoch(trained, 1.0, left=2 - epoch)
        ends.append(trained.module.weight.detach().clone())
    assert torch.allclose(*ends, atol=1e-6)
