"""A small real network as a backbone, and splits of generated images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autotune import Backbone, Facts, Preprocess, Split, Weights
from autotune.vision import (
    Average,
    Placement,
    Rates,
    Schedule,
    Trained,
    freeze,
    make_mix,
    make_optimizer,
    make_penalties,
)


class SmallNet(torch.nn.Module):
    """Two convolutional blocks with BatchNorm, and a linear head."""

    def __init__(self, classes: int, drop: float) -> None:
        super().__init__()
        self.low = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        self.top = torch.nn.Sequential(torch.nn.Conv2d(8, 16, 3, 2, 1), torch.nn.BatchNorm2d(16), torch.nn.ReLU())
        self.drop = torch.nn.Dropout(drop)
        self.head = torch.nn.Linear(16, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, C]."""
        return self.head(self.drop(self.top(self.low(x)).mean((2, 3))))


class SmallBackbone(Backbone):
    """A backbone of two blocks; its weights file holds a head for three classes."""

    def __init__(self, weights: Weights | None = None) -> None:
        self.facts = Facts(name="test/small", params=1500, blocks=2, input_size=32, min_size=8)
        self.weights = weights

    def with_weights(self, weights: Weights | None) -> Backbone:
        """The same network with other weights."""
        return SmallBackbone(weights)

    def build(
        self,
        classes: int,
        *,
        drop: float = 0.0,
        drop_path: float = 0.0,
        img_size: int | None = None,
        load: bool = True,
        keep_head: bool = False,
    ) -> Any:
        """Builds the network."""
        net = SmallNet(classes, drop)
        if load and self.weights is not None:
            from safetensors.torch import load_file

            state = load_file(self.weights.path)
            if not keep_head or state["head.weight"].shape[0] != classes:
                state = {n: t for n, t in state.items() if not n.startswith("head.")}
            net.load_state_dict(state, strict=False)
        return net

    def blocks(self, module: Any) -> tuple[tuple[str, ...], ...]:
        """The two convolutional blocks."""
        names = list(module.state_dict())
        return tuple(tuple(n for n in names if n.startswith(block)) for block in ("low.", "top."))

    def head(self, module: Any) -> tuple[str, ...]:
        """The linear layer."""
        return ("head",)


@pytest.fixture
def backbone(tmp_path: Path) -> SmallBackbone:
    """The small backbone with weights in a file."""
    from safetensors.torch import save_file

    torch.manual_seed(7)
    path = tmp_path / "small.safetensors"
    save_file(SmallNet(3, 0.0).state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return SmallBackbone(Weights(path=path, digest=digest, source="file", classes=("a", "b", "c")))


@pytest.fixture
def preprocess() -> Preprocess:
    """Inputs of 16 px."""
    return Preprocess(img_size=16, crop_pct=1.0, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")


def make_coloured(count: int, classes: int = 3, seed: int = 0) -> Split:
    """Noisy images whose brightest channel is their class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    images = rng.integers(0, 120, (count, 20, 24, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[..., label] += 60
    ids = tuple(hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest() for image in images)
    keys = tuple(map(str, range(count)))
    return Split(ids=ids, labels=labels.astype(np.int64), keys=keys, reader=lambda key: images[int(key)])


@pytest.fixture
def split() -> Split:
    """Ninety coloured images of three classes."""
    return make_coloured(90)


@pytest.fixture
def coloured() -> Callable[..., Split]:
    """Makes a side of coloured images."""
    return make_coloured


class Tower(torch.nn.Module):
    """Five convolutional blocks with BatchNorm, one upon the other, and a linear head."""

    def __init__(self, classes: int, drop: float) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Conv2d(8 if i else 3, 8, 3, 1 if i else 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()
            )
            for i in range(5)
        )
        self.drop = torch.nn.Dropout(drop)
        self.head = torch.nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, C]."""
        for block in self.blocks:
            x = block(x)
        return self.head(self.drop(x.mean((2, 3))))


class TowerBackbone(SmallBackbone):
    """A backbone of five blocks, with random weights."""

    def __init__(self, weights: Weights | None = None) -> None:
        self.facts = Facts(name="test/tower", params=3000, blocks=5, input_size=32, min_size=8)
        self.weights = None

    def with_weights(self, weights: Weights | None) -> Backbone:
        """The same network."""
        return self

    def build(self, classes: int, *, drop: float = 0.0, **_: Any) -> Any:
        """Builds the network."""
        return Tower(classes, drop)

    def blocks(self, module: Any) -> tuple[tuple[str, ...], ...]:
        """The five convolutional blocks."""
        names = list(module.state_dict())
        return tuple(tuple(n for n in names if n.startswith(f"blocks.{i}.")) for i in range(5))


@pytest.fixture
def tower() -> TowerBackbone:
    """A backbone of five blocks."""
    return TowerBackbone()


def make_training(
    backbone: Backbone,
    *,
    unfreeze: int = 2,
    lr: float = 0.01,
    layer_decay: float = 0.9,
    opt: Any = "adamw",
    drop: float = 0.2,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    l1: float = 0.0,
    l2_sp: float = 0.0,
    bn: str = "batch",
    warmup_steps: int = 3,
    kind: Any = None,
    steps_per_epoch: int = 6,
    epochs: int = 4,
    device: str = "cpu",
    notes: list[str] | None = None,
) -> Trained:
    """A small network for three classes, ready to train; with a kind of schedule there is no other warm-up."""
    torch.manual_seed(0)
    placement = Placement(device)
    module = placement.module(backbone.build(3, drop=drop))
    partition = freeze(module, backbone, unfreeze)
    live = {n: t for n, t in module.state_dict(keep_vars=True).items() if n in partition.trained}
    rates = Rates(
        lr=lr, lr_blocks=lr, layer_decay=layer_decay, opt=opt, momentum=0.9, weight_decay=0.01, l1=l1, l2_sp=l2_sp
    )
    optimizer = make_optimizer(module, partition, rates)
    schedule = Schedule(kind=kind, steps_per_epoch=steps_per_epoch, epochs=epochs, warmup=0.5) if kind else None
    return Trained(
        module=module,
        partition=partition,
        optimizer=optimizer,
        average=Average(live, 6),
        placement=placement,
        smoothing=0.05,
        mix=make_mix(mixup, cutmix, 3),
        warmup_steps=warmup_steps,
        schedule=schedule,
        penalties=make_penalties(optimizer),
        batch_statistics=bn == "batch",
        note=(notes if notes is not None else []).append,
        forward=module,
    )


@pytest.fixture
def training() -> Callable[..., Trained]:
    """Makes a small network ready to train: ``training(backbone, opt="sgd")``."""
    return make_training


class Sudden(torch.Tensor):
    """Indices int64 [N]; something happens just before the first rows are copied by them."""

    act: Callable[[], object] | None

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Acts where rows are selected; whatever is computed is an ordinary tensor."""
        for one in args:
            if func is torch.Tensor.index_select and isinstance(one, Sudden) and one.act is not None:
                act, one.act = one.act, None
                act()
        found = super().__torch_function__(func, types, args, kwargs or {})
        return found.as_subclass(torch.Tensor) if isinstance(found, Sudden) else found


@pytest.fixture
def sudden() -> Callable[..., torch.Tensor]:
    """Makes indices at whose first use for copying rows something happens: ``sudden(indices, act)``."""

    def make(indices: torch.Tensor, act: Callable[[], object]) -> torch.Tensor:
        made = indices.as_subclass(Sudden)
        made.act = act
        return made

    return make


class Hungry(torch.nn.Module):
    """Asks for memory that no machine has when it is given more than a number of images."""

    def __init__(self, inner: torch.nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, x: torch.Tensor) -> Any:
        """What is within."""
        if len(x) > self.most:
            torch.empty(2**60, dtype=torch.uint8, device=x.device)
        return self.inner(x)


@pytest.fixture
def hungry() -> type[Hungry]:
    """Makes a part of a network that needs too much memory for many images: ``hungry(inner, most=4)``."""
    return Hungry
