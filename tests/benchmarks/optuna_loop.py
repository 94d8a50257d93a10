"""The baseline of P6, a script of its own: Optuna's defaults around a plain loop, without autotune.

    python optuna_loop.py SPLIT.json OUT.jsonl --minutes 15 --seed 0 [--channels-last]

What somebody writes after reading the tutorials: the pretrained network, AdamW or SGD, a random flip, three epochs a
trial, Optuna's default sampler and pruner, seeded. SPLIT.json has the files and labels of both sides, and the weights.
Every line of OUT.jsonl is an epoch: seconds since --started, the trial, its score.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import optuna
import timm
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

EPOCHS = 3
BLOCKS = ("conv_stem bn1", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.5",
          "blocks.6 conv_head bn2")  # fmt: skip


class Files(Dataset):
    """Image files with labels."""

    def __init__(self, side: dict[str, Any], transform: transforms.Compose) -> None:
        self.paths, self.labels, self.transform = side["files"], side["labels"], transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.open(self.paths[i]).convert("RGB")), self.labels[i]


def loaders(split: dict[str, Any], batch_size: int) -> tuple[DataLoader, DataLoader]:
    """Training and validation."""
    size = split["img_size"]
    last = [transforms.ToTensor(), transforms.Normalize(split["mean"], split["std"])]
    varied = transforms.Compose([transforms.Resize((size, size)), transforms.RandomHorizontalFlip(), *last])
    plain = transforms.Compose([transforms.Resize((size, size)), *last])
    train = DataLoader(Files(split["train"], varied), batch_size, shuffle=True, num_workers=2, drop_last=True)
    return train, DataLoader(Files(split["val"], plain), 128, num_workers=2)


def network(split: dict[str, Any], drop: float, unfreeze: int) -> nn.Module:
    """The pretrained network with a new head; all but the topmost groups are frozen."""
    overlay = {"file": split["weights"]}
    model = timm.create_model(
        split["network"], pretrained=True, pretrained_cfg_overlay=overlay, num_classes=split["classes"], drop_rate=drop
    )
    for group in BLOCKS[: len(BLOCKS) - unfreeze]:
        for name in group.split():
            model.get_submodule(name).requires_grad_(False)
    return model


def accuracy(model: nn.Module, loader: DataLoader, layout: torch.memory_format) -> float:
    """Share of the validation images that are classified right."""
    model.eval()
    right = seen = 0
    with torch.inference_mode():
        for images, labels in loader:
            right += int((model(images.contiguous(memory_format=layout)).argmax(1) == labels).sum())
            seen += len(labels)
    return right / seen


def main() -> None:
    """Reads the command line and searches until the time is over."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("split", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--started", type=float, default=None, help="on the clock of time.monotonic")
    chosen = parser.parse_args()
    started = time.monotonic() if chosen.started is None else chosen.started
    deadline = started + 60 * chosen.minutes
    split = json.loads(chosen.split.read_text())
    layout = torch.channels_last if chosen.channels_last else torch.contiguous_format
    torch.manual_seed(chosen.seed)
    train, val = loaders(split, split["batch"])

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 3e-5, 1e-2, log=True)
        weight_decay = trial.suggest_float("weight_decay", 1e-5, 0.1, log=True)
        drop = trial.suggest_float("drop", 0.0, 0.5)
        smoothing = trial.suggest_float("smoothing", 0.0, 0.2)
        unfreeze = trial.suggest_int("unfreeze", 0, len(BLOCKS))
        opt = trial.suggest_categorical("opt", ["adamw", "sgd"])
        model = network(split, drop, unfreeze).to(memory_format=layout)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = (
            torch.optim.AdamW(trained, lr=lr, weight_decay=weight_decay)
            if opt == "adamw"
            else torch.optim.SGD(trained, lr=lr, momentum=0.9, nesterov=True, weight_decay=weight_decay)
        )
        score = 0.0
        for epoch in range(EPOCHS):
            model.train()
            for images, labels in train:
                optimizer.zero_grad()
                logits = model(images.contiguous(memory_format=layout))
                functional.cross_entropy(logits, labels, label_smoothing=smoothing).backward()
                optimizer.step()
                if time.monotonic() > deadline:
                    trial.study.stop()
                    raise optuna.TrialPruned
            score = accuracy(model, val, layout)
            line = {"at": time.monotonic() - started, "trial": trial.number, "epoch": epoch + 1, "accuracy": score}
            with chosen.out.open("a") as file:
                file.write(json.dumps({**line, "params": trial.params}) + "\n")
            trial.report(score, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return score

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=chosen.seed))
    study.optimize(objective, timeout=max(0.0, deadline - time.monotonic()))


if __name__ == "__main__":
    main()
