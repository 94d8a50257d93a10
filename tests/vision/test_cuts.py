"""Networks cut beneath their trained blocks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from autotune import Backbone, Facts
from autotune.testing.cutting import check_cut
from autotune.vision import Cuts, freeze, train_mode

SIZE = 16


class Drawn(Backbone):
    """A backbone that a test draws: a class with blocks ``low`` and ``top`` and a head."""

    def __init__(self, network: Callable[[float], nn.Module]) -> None:
        self.network, self.weights = network, None
        self.facts = Facts(name="test/drawn", params=1, blocks=2, input_size=SIZE)

    def with_weights(self, weights: Any) -> Backbone:
        return self

    def build(self, classes: int, *, drop: float = 0.0, **_: Any) -> Any:
        return self.network(drop)

    def blocks(self, module: Any) -> tuple[tuple[str, ...], ...]:
        names = [n for n, _ in (*module.named_parameters(), *module.named_buffers())]
        return tuple(tuple(n for n in names if n.startswith(block)) for block in ("low", "top"))

    def head(self, module: Any) -> tuple[str, ...]:
        return ("head",)


class Net(nn.Module):
    """Two blocks of convolution and BatchNorm, and a head; 8 channels of 4 x 4 pixels between them."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.top = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.drop = nn.Dropout(drop)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.top(self.low(x)))

    def end(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(x.mean((2, 3))))


class Tokens(Net):
    """Sequences whose lengths are computed from the batch's shape, as transformers do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.low(x)
        n, c, h, w = x.shape
        x = x.reshape(n * h, w, c).view(n, h * w, -1)
        x = x.transpose(1, 2).reshape(n, c, h, w)
        return self.end(self.top(x) + x)


class Windows(Net):
    """Four rows for each image cross."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.low(x)
        x = x.unflatten(2, (2, 2)).transpose(1, 2).flatten(0, 1)
        return self.end(self.top(x)).unflatten(0, (-1, 2)).sum(1)


class Branches(Net):
    """Two values cross, one of them in a list, and the top writes into one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.low(x)
        parts = [x, x * 2] if x.shape[-1] == x.shape[-2] else [x]
        y = self.top(parts[1])
        parts[0].mul_(3)
        return self.end(y + parts[0])


class Functional(Net):
    """Dropout before the head without a module, only where there is a rate."""

    def end(self, x: torch.Tensor) -> torch.Tensor:
        x = x.mean((2, 3))
        if self.drop.p > 0:
            x = nn.functional.dropout(x, self.drop.p, self.training)
        return self.head(x)


class Table(Net):
    """Frozen values that depend on no image: added where the top begins."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__(drop)
        self.low_table = nn.Parameter(torch.randn(1, 8, 4, 4))
        self.grid = torch.linspace(0, 1, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.top(self.low(x) * self.top[0].weight.mean() + self.low_table.exp() + self.grid))


class Assigned(Net):
    """The top writes into a part of what crosses."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.low(x)
        x[:, :2] = self.top[1].weight[:2, None, None]
        return self.end(self.top(x))


class Skipping(Net):
    """The top takes the images too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.top(self.low(x)) + x[:, :1, ::4, ::4] + x[:, 2:, ::4, ::4])


class Eager(Net):
    """The top's first layer works in place on what crosses."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__(drop)
        self.low = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8))
        self.top = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, 1, 1))


class Early(Net):
    """Dropout on the images themselves."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.drop(x))


class Reading(Net):
    """Scales by a number read from the images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.low(x)
        return self.end(self.top(x * float(x.mean())))


class Mixing(Net):
    """Frozen values of an image depend on the others in the batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.low(x)
        return self.end(self.top(x - x.mean(0, keepdim=True)))


class Halves(Net):
    """Takes every other image, and counts them in a way that is a line through two and three images, and no further."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = self.low(x)
        ones = torch.ones(len(x) - len(x) // 2, 1, 1, 1)
        return self.end(self.top(low + 0 * (low[::2] * ones).sum()))


class Hidden(Net):
    """Adds a tensor that torch does not see being made."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.low(x)
        return self.end(self.top(x + torch.from_numpy(np.ones(4, np.float32))))


@pytest.mark.parametrize("network", [Net, Tokens, Windows, Branches, Functional, Table, Assigned, Eager, Skipping])
@pytest.mark.parametrize("drop", [0.0, 0.4])
@pytest.mark.parametrize("unfreeze", [0, 1])
def test_the_parts_compute_what_the_whole_computes(network: type[Net], drop: float, unfreeze: int) -> None:
    """Logits in both modes, gradients and statistics are the same, and nothing frozen moves."""
    check_cut(Drawn(network), unfreeze, img_size=SIZE, drop=drop)


def test_what_crosses_is_named_and_has_a_row_for_each_image() -> None:
    """One name for each tensor of the boundary, after the submodule or function that gives it."""
    for network, names, shapes in (
        (Net, ("low",), [(5, 8, 4, 4)]),
        (Windows, ("flatten",), [(5, 2, 8, 2, 4)]),
        (Branches, ("mul", "mul_"), [(5, 8, 4, 4)] * 2),
    ):
        cut = Cuts(network(), Drawn(network), img_size=SIZE, folder=None).at(1)
        assert cut is not None
        assert cut.crossing == names
        boundary = cut.prefix(torch.randn(5, 3, SIZE, SIZE))
        assert [tuple(value.shape) for value in boundary] == shapes
        assert not any(value.requires_grad for value in boundary)


def test_the_suffix_leaves_what_it_is_given_as_it_is() -> None:
    """A network that writes into its values in place writes into a copy of the boundary."""
    for network in (Branches, Assigned, Eager):
        module = network()
        cut = Cuts(module, Drawn(network), img_size=SIZE, folder=None).at(1)
        assert cut is not None
        boundary = cut.prefix(torch.randn(5, 3, SIZE, SIZE))
        before = [value.clone() for value in boundary]
        cut.suffix(*boundary).sum().backward()
        assert all(torch.equal(a, b) for a, b in zip(before, boundary, strict=True))


def test_the_suffix_obeys_modes_and_rates_as_the_module_does() -> None:
    """Dropout draws in training and not in evaluation, also where its rate is raised after the cut was made."""
    module = Net(0.0)
    cut = Cuts(module, Drawn(Net), img_size=SIZE, folder=None).at(0)
    assert cut is not None
    (features,) = cut.prefix(torch.randn(6, 3, SIZE, SIZE))
    train_mode(module, freeze(module, Drawn(Net), 0))
    assert torch.equal(cut.suffix(features), cut.suffix(features))
    module.drop.p = 0.5
    assert not torch.equal(cut.suffix(features), cut.suffix(features))
    module.eval()
    assert torch.equal(cut.suffix(features), module.head(features))


def test_kept_statistics_are_kept_in_the_suffix() -> None:
    """Where BatchNorm keeps the pretrained statistics in training, the suffix keeps them too."""
    module = Net()
    cut = Cuts(module, Drawn(Net), img_size=SIZE, folder=None).at(1)
    assert cut is not None
    train_mode(module, freeze(module, Drawn(Net), 1), batch_statistics=False)
    before = module.top[1].running_mean.clone()
    images = torch.randn(5, 3, SIZE, SIZE)
    torch.testing.assert_close(cut.suffix(*cut.prefix(images)), module(images))
    assert torch.equal(module.top[1].running_mean, before)


def test_the_prefix_is_in_evaluation_whatever_mode_the_module_is_in() -> None:
    """It gives the same in training, and its statistics stay; the modes are put back."""
    module = Net()
    cut = Cuts(module, Drawn(Net), img_size=SIZE, folder=None).at(1)
    assert cut is not None
    images = torch.randn(5, 3, SIZE, SIZE)
    module.eval()
    (expected,) = cut.prefix(images)
    module.train()
    before = module.low[1].running_mean.clone()
    assert torch.equal(cut.prefix(images)[0], expected)
    assert torch.equal(module.low[1].running_mean, before)
    assert all(child.training for child in module.modules())


def test_asking_for_a_cut_leaves_the_module_as_it_was() -> None:
    """Modes, what is trained, statistics, hooks and the random numbers that follow are untouched."""
    module = Net(0.5)
    module.top.eval()
    module.low.requires_grad_(False)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = [child.training for child in module.modules()]
    wanted = [parameter.requires_grad for parameter in module.parameters()]
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    assert Cuts(module, Drawn(Net), img_size=SIZE, folder=None).at(0) is not None
    assert torch.equal(torch.rand(4), expected)
    assert [child.training for child in module.modules()] == modes
    assert [parameter.requires_grad for parameter in module.parameters()] == wanted
    assert all(torch.equal(state[name], tensor) for name, tensor in module.state_dict().items())
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Early, "nothing with weights lies beneath them"),
        (Reading, "reads the values of a tensor"),
        (Mixing, "depends on the other images"),
        (Hidden, "no known origin"),
        (Halves, "its parts fail: RuntimeError"),
    ],
)
def test_what_cannot_be_cut_is_not_and_the_reason_is_told(network: type[Net], reason: str) -> None:
    """There is no cut, and one sentence says why."""
    cuts = Cuts(network(0.5), Drawn(network), img_size=SIZE, folder=None)
    assert cuts.at(1) is None
    assert reason in cuts.why_not(1)
    assert "test/drawn" in cuts.why_not(1)


def test_a_network_that_is_trained_whole_has_no_cut() -> None:
    """With all blocks trained, or more than there are, nothing lies beneath."""
    cuts = Cuts(Net(), Drawn(Net), img_size=SIZE, folder=None)
    assert cuts.at(2) is None
    assert cuts.why_not(2) == cuts.why_not(9) == "everything is trained"
    assert cuts.why_not(1) == ""


def test_dropout_beneath_the_boundary_ends_the_prefix_and_only_where_it_draws() -> None:
    """The head's dropout is trained with it; at rate 0 the boundary, and its fingerprint, are the same."""
    prints = set()
    for network, drop in ((Net, 0.0), (Net, 0.3), (Functional, 0.0), (Functional, 0.3)):
        cut = Cuts(network(drop), Drawn(network), img_size=SIZE, folder=None).at(0)
        assert cut is not None
        assert cut.crossing == ("mean",)
        prints.add(cut.fingerprint)
    assert len(prints) == 1


def test_the_fingerprint_tells_boundaries_apart_and_not_weights() -> None:
    """Other depths, sizes and computations have other fingerprints; other weights and heads have the same."""

    def prints(network: type[Net], unfreeze: int = 1, size: int = SIZE) -> str:
        cut = Cuts(network(), Drawn(network), img_size=size, folder=None).at(unfreeze)
        assert cut is not None
        return cut.fingerprint

    assert prints(Net) == prints(Net)
    assert len({prints(Net), prints(Net, 0), prints(Net, 1, 32), prints(Tokens)}) == 4


def test_a_deeper_boundary_is_computed_from_a_shallower_one() -> None:
    """What lies between two cuts gives the same values as the deeper prefix; the other way there is none."""
    for network in (Net, Tokens, Branches, Windows):
        cuts = Cuts(network(), Drawn(network), img_size=SIZE, folder=None)
        shallow, deep = cuts.at(1), cuts.at(0)
        assert shallow is not None
        assert deep is not None
        way = cuts.between(shallow, deep)
        assert way is not None
        images = torch.randn(5, 3, SIZE, SIZE)
        found, expected = way(*shallow.prefix(images)), deep.prefix(images)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert cuts.between(deep, shallow) is None


def test_what_was_compared_is_remembered(tmp_path: Any) -> None:
    """A finding is read instead of compared anew, one that says no too; a damaged one is found again."""
    assert Cuts(Net(), Drawn(Net), img_size=SIZE, folder=tmp_path).at(1) is not None
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text())
    assert (found["differs"], found["backbone"], found["unfreeze"]) == ("", "test/drawn", 1)
    path.write_text(json.dumps({**found, "differs": "its logits differ"}))
    assert "its logits differ" in Cuts(Net(), Drawn(Net), img_size=SIZE, folder=tmp_path).why_not(1)
    path.write_text('{"differs": ')
    assert Cuts(Net(), Drawn(Net), img_size=SIZE, folder=tmp_path).at(1) is not None
    assert json.loads(path.read_text()) == found


def test_what_was_compared_with_one_rate_holds_for_another(tmp_path: Any) -> None:
    """Rates of dropout above 0 share one finding; none at all is another."""
    for drop in (0.1, 0.2, 0.3):
        assert Cuts(Functional(drop), Drawn(Functional), img_size=SIZE, folder=tmp_path).at(0) is not None
    assert len(list(tmp_path.iterdir())) == 1
    assert Cuts(Functional(0.0), Drawn(Functional), img_size=SIZE, folder=tmp_path).at(0) is not None
    assert len(list(tmp_path.iterdir())) == 2


class Hungry(Net):
    """Memory does not suffice for it once."""

    fed = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.fed:
            self.fed = True
            torch.empty(1 << 60)
        return super().forward(x)


def test_memory_that_runs_out_in_the_comparison_is_no_cut_and_not_remembered(tmp_path: Any) -> None:
    """The network trains whole, says why, and another trial compares anew."""
    network = Hungry()
    cuts = Cuts(network, Drawn(Hungry), img_size=SIZE, folder=tmp_path)
    assert cuts.at(1) is None
    assert "memory ran out" in cuts.why_not(1)
    assert list(tmp_path.iterdir()) == []
    assert Cuts(network, Drawn(Hungry), img_size=SIZE, folder=tmp_path).at(1) is not None


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path: Any) -> None:
    """The cut is made all the same."""
    path = tmp_path / "file"
    path.write_text("")
    assert Cuts(Net(), Drawn(Net), img_size=SIZE, folder=path / "cuts").at(1) is not None
