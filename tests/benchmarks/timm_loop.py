"""The baseline that most people have: timm's loader around a plain loop, with train.py's defaults.

The defaults of timm 1.0's train.py: batches of 128 (here the recipe's, so that both sides take equal steps, unless
told otherwise), SGD with momentum 0.9 and weight decay 2e-5, label smoothing 0.1, random resized crops of 8 % to 100 %
of the area, random interpolation, horizontal flips, colour jitter 0.4, four loader processes, the prefetching loader,
float32 and the default memory layout.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from bare import CHANNELS_LAST, NETWORK, now, precision
from timm.data import ImageDataset, create_loader
from timm.data.readers.reader import Reader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from torch import nn


class Files(Reader):
    """Lets timm's dataset read these files, and no others of their folders."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int]) -> None:
        super().__init__()
        self.samples = list(zip(paths, labels, strict=True))

    def __getitem__(self, index: int) -> tuple[Path, int]:
        return self.samples[index]

    def __len__(self) -> int:
        return len(self.samples)

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        path = self.samples[index][0]
        return path.name if basename else str(path)


class TimmLoop:
    """A network, its optimizer and timm's loader.

    Args:
        paths: Image files.
        labels: Their labels.
        weights: A safetensors file with timm's names.
        classes: Width of the head.
        img_size: Side of the network's input.
        batch_size: Images a step.
        channels_last: Memory layout of network and batches.
        dtype: Precision of forward and backward.
        workers: Loader processes; train.py's default is 4.
        device: Where the network is; on a GPU timm's loader fetches ahead and normalises there.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Sequence[int],
        *,
        weights: str,
        classes: int,
        img_size: int = 96,
        batch_size: int = 128,
        channels_last: bool = False,
        dtype: torch.dtype = torch.float32,
        workers: int = 4,
        device: str = "cpu",
    ) -> None:
        overlay = {"file": weights}
        self.model = timm.create_model(NETWORK, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes)
        self.layout = CHANNELS_LAST if channels_last else torch.contiguous_format
        self.device = torch.device(device)
        self.model.to(self.device, memory_format=self.layout)
        self.dtype = dtype
        self.optimizer = create_optimizer_v2(self.model, opt="sgd", lr=0.05, weight_decay=2e-5, momentum=0.9)
        self.loss: nn.Module = LabelSmoothingCrossEntropy(0.1)
        config = self.model.pretrained_cfg
        # Four loader processes are train.py's default whatever the machine has.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        self.loader = create_loader(
            ImageDataset("", reader=Files(paths, labels)),
            input_size=(3, img_size, img_size),
            batch_size=batch_size,
            is_training=True,
            interpolation="random",
            mean=config["mean"],
            std=config["std"],
            num_workers=workers,
            device=self.device,
        )

    def train_epoch(self) -> float:
        """Trains for one epoch of full batches, as train.py does, and returns img/s."""
        self.model.train()
        seen = 0
        began = now(next(self.model.parameters()))
        for images, labels in self.loader:
            images = images.contiguous(memory_format=self.layout)
            self.optimizer.zero_grad()
            with precision(self.dtype, self.device):
                loss = self.loss(self.model(images), labels)
            loss.backward()
            self.optimizer.step()
            seen += len(labels)
        return seen / (now(next(self.model.parameters())) - began)

    def close(self) -> None:
        """Ends the loader's processes."""
        del self.loader
