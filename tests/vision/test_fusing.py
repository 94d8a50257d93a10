"""Frozen parts with batch normalisation fused into the convolutions before it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from autotune import Backbone
from autotune.vision import Cuts
from autotune.vision.fusing import fuse


class Calls(TorchFunctionMode):
    """Counts how often the functions that matter here are called."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = self.convolutions = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.norms += func is functional.batch_norm
        self.convolutions += func is functional.conv2d
        return func(*args, **(kwargs or {}))


class Net(nn.Module):
    """A stem without a bias, a branch with one, and a sum; its statistics are unlike those of a new network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(8, affine=False)
        for norm in (self.stem[1], self.norm):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
        self.eval()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.stem(x)
        return (x + functional.relu(self.norm(self.deep(x))),)


class Twice(Net):
    """The normalised convolution is read by somebody else, too."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.deep(self.stem(x))
        return x + self.norm(x), x.mean(1)


class Reversed(Net):
    """Normalises, and then convolves."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.deep(self.norm(self.stem(x))),)


class Computed(Net):
    """The weight of a convolution is computed from another tensor."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.stem(x)
        return (self.norm(functional.conv2d(x, self.deep.weight.tanh(), None, 1, 1, 1, 2)),)


class Joined(Net):
    """Takes two inputs, and gives two tensors."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.stem(x) * y, self.norm(y)


class Reading(Net):
    """Steps that follow the values of a tensor."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.stem(x) * float(x.mean()),)


class Named(Net):
    """Passes everything by name, and writes into a convolution's input before it normalises."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.stem(x)
        y = functional.conv2d(x, self.deep.weight, bias=self.deep.bias, padding=1, groups=2)
        x.mul_(2)
        return self.norm(y), functional.conv2d(input=x, weight=self.stem[0].weight[:, :1].repeat(1, 8, 1, 1))


class Keeping(Net):
    """In evaluation it keeps what it computed from its weights, in no buffer, and uses it again."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if "scale" not in self.kept:
            self.kept["scale"] = self.deep.weight.mean().exp()
        return (self.stem(x) * self.kept["scale"],)


class Squared(Net):
    """A number that follows the batch size, and not linearly."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.stem(x)
        n = len(x)
        pairs = x.unsqueeze(1).expand(-1, n, -1, -1, -1).flatten(0, 1) * torch.ones(n * n, 1, 1, 1)
        return (pairs.unflatten(0, (n, n)).mean(1),)


def images(count: int = 4) -> torch.Tensor:
    """Random, in the layout that networks are given."""
    return torch.randn(count, 3, 9, 9).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(("network", "left"), [(Net, 0), (Twice, 1), (Reversed, 1), (Computed, 0), (Named, 0)])
def test_what_follows_a_convolution_alone_is_fused_into_it(network: type[Net], left: int) -> None:
    """For another number of images than it was found with; all others are still normalised."""
    net = network()
    found = fuse(net, [images()])
    assert found is not None
    for rows in (images(1), images(7)):
        with torch.no_grad(), Calls() as calls:
            given = found(rows)
        assert (calls.norms, calls.convolutions) == (left, 2 + (network is Named))
        for ours, theirs in zip(given, net(rows), strict=True):
            torch.testing.assert_close(ours, theirs)
            assert ours.stride() == theirs.stride()


def test_several_tensors_go_in_and_come_out() -> None:
    """Each by itself, in their order."""
    net = Joined()
    rows = images(), torch.randn(4, 8, 7, 7)
    found = fuse(net, rows)
    assert found is not None
    with torch.no_grad():
        for ours, theirs in zip(found(*rows), net(*rows), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("network", [lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU()), Reading, Keeping, Squared])
def test_without_anything_to_fuse_or_to_follow_there_is_none(network: type[nn.Module]) -> None:
    """A network without batch normalisation, and those whose steps cannot be repeated; the second time, too."""
    net = network()
    for _ in range(2):
        assert fuse(net, [images()]) is None
        with torch.inference_mode():
            net(images())


def test_statistics_of_the_batch_are_never_fused() -> None:
    """A normalisation that keeps none takes those of every batch, in evaluation too."""
    net = Net()
    net.stem[1] = nn.BatchNorm2d(8, track_running_stats=False).eval()
    found = fuse(net, [images()])
    assert found is not None
    with torch.no_grad(), Calls() as calls:
        found(images())
    assert calls.norms == 1


def test_what_would_lose_digits_is_not_fused() -> None:
    """A large bias that the normalisation takes away again: fused, the digits that it costs are not lost."""
    net = Net()
    with torch.no_grad():
        net.deep.bias.fill_(1e6)
        net.norm.running_mean.fill_(1e6)
    assert fuse(net, [images()]) is None


def test_changed_weights_and_statistics_are_noticed() -> None:
    """Trained by a fused step, loaded, or measured on other images: not all of these raise a tensor's version."""
    net = Net()
    rows = images()
    found = fuse(net, [rows])
    assert found is not None
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)
    net(rows)[0].sum().backward()

    def measure() -> None:
        net.train()
        net(10 * images())
        net.eval()

    with torch.no_grad():
        (before,) = found(rows)
        for change in (optimizer.step, lambda: net.load_state_dict(Net().state_dict()), measure):
            change()
            (after,) = found(rows)
            assert not torch.equal(before, after)
            torch.testing.assert_close(after, net(rows)[0])
            before = after


def test_the_network_itself_stays_as_it_is() -> None:
    """Its tensors are the same, and it still normalises."""
    net = Net()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = fuse(net, [images()])
    assert found is not None
    with torch.inference_mode():
        found(images())
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in net.modules())
    with torch.no_grad(), Calls() as calls:
        net(images())
    assert calls.norms == 2


def test_what_is_frozen_is_fused_on_the_way_to_any_boundary(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is normalised beneath a boundary, in inference mode too."""
    module = backbone.build(3)
    cuts = Cuts(module, backbone, img_size=16, folder=None)
    shallow, deep = cuts.at(1), cuts.at(0)
    assert shallow is not None
    assert deep is not None
    rows = torch.randn(5, 3, 16, 16)
    with torch.inference_mode():
        way = cuts.between(shallow, deep)
        assert way is not None
        for calls in (Calls(), Calls()):
            with calls:  # the first time it is fused and compared
                way(*shallow.prefix(rows))
                deep.prefix(rows)
    assert calls.norms == 0
    with Calls() as calls:
        deep.unfused(rows)
    assert calls.norms == 2
    monkeypatch.setattr("autotune.vision.cuts.fuse", lambda *_: None)
    plain = Cuts(module, backbone, img_size=16, folder=None).at(0)
    assert plain is not None
    assert plain.fused is None


def test_nothing_is_fused_before_it_computes(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that finds what the frozen part says does not wait for it; a second batch finds it fused."""
    asked = []
    monkeypatch.setattr("autotune.vision.cuts.fuse", lambda *given: asked.append(given) or fuse(*given))
    cuts = Cuts(backbone.build(3), backbone, img_size=16, folder=None)
    shallow, deep = cuts.at(1), cuts.at(0)
    assert shallow is not None
    assert deep is not None
    assert cuts.between(shallow, deep) is not None
    assert not asked
    for _ in range(2):
        deep.prefix(torch.randn(5, 3, 16, 16))
    assert len(asked) == 1
