"""The baselines: bare loops for EfficientNet-Lite0, as somebody who knows torch would write them by hand."""

from __future__ import annotations

import contextlib
import copy
import itertools
import time
from collections.abc import Iterable

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

CHANNELS_LAST = torch.channels_last
NETWORK = "tf_efficientnet_lite0"


def network(weights: str, classes: int, drop: float = 0.1, device: str = "cpu") -> nn.Module:
    """The pretrained network with a new head, in channels_last.

    Args:
        weights: A safetensors file with timm's names.
        classes: Width of the head.
        drop: Dropout before the head.
        device: Where it is.
    """
    overlay = {"file": weights}
    model = timm.create_model(
        NETWORK, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes, drop_rate=drop
    )
    return model.to(device, memory_format=CHANNELS_LAST)


def cut(model: nn.Module, k: int) -> tuple[nn.Module, nn.Module]:
    """The frozen prefix and the trained suffix, with the head and the k topmost of the eight coarse groups trained.

    The groups from the top: blocks.6 with conv_head and bn2, blocks.5, ..., blocks.0, the stem. The prefix is fused.
    """
    if k == 0:
        prefix = nn.Sequential(model.conv_stem, model.bn1, model.blocks, model.conv_head, model.bn2, model.global_pool)
        suffix = nn.Sequential(nn.Dropout(model.drop_rate), model.classifier)
    else:
        first = 7 - k
        prefix = nn.Sequential(model.conv_stem, model.bn1, *model.blocks[:first])
        suffix = nn.Sequential(
            *model.blocks[first:], model.conv_head, model.bn2, model.global_pool, nn.Dropout(model.drop_rate),
            model.classifier,
        )  # fmt: skip
    return fused(prefix.eval().requires_grad_(False)), suffix.requires_grad_(True)


def fused(module: nn.Module) -> nn.Module:
    """A copy whose convolutions have taken over the batch normalisation after them, as one does before inference."""
    module = copy.deepcopy(module)
    for parent in module.modules():
        for (name, conv), (after, norm) in itertools.pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, after, getattr(norm, "act", nn.Identity()))  # timm's activates, too
    return module


def training_mode(module: nn.Module, bn: str = "frozen") -> nn.Module:
    """Training mode; ``frozen`` keeps BatchNorm's pretrained statistics, ``batch`` takes each batch's own."""
    module.train()
    for child in module.modules():
        if bn == "frozen" and isinstance(child, nn.BatchNorm2d):
            child.eval()
    return module


def fused_adamw(module: nn.Module, lr: float = 1e-3, weight_decay: float = 0.01) -> torch.optim.AdamW:
    """Fused AdamW over the trained parameters, without decay on biases and norms."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def precision(dtype: torch.dtype, device: torch.device | str = "cpu") -> contextlib.AbstractContextManager[object]:
    """bf16 autocast, or nothing for float32."""
    return torch.autocast(torch.device(device).type, dtype) if dtype != torch.float32 else contextlib.nullcontext()


def now(tensor: Tensor) -> float:
    """The clock, once the tensor's device has done its work."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
    return time.perf_counter()


def train_epoch(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    labels: Tensor,
    *,
    batch_size: int = 64,
    dtype: torch.dtype = torch.float32,
) -> float:
    """Trains for one shuffled epoch on tensors in memory and returns img/s.

    Args:
        module: In training mode.
        optimizer: Over its trained parameters.
        inputs: [N, ...], 4-D ones in channels_last, which indexing keeps.
        labels: int64 [N].
        batch_size: Images a step.
        dtype: Precision of forward and backward.
    """
    began = now(inputs)
    for batch in torch.randperm(len(labels), device=labels.device).split(batch_size):
        with precision(dtype, inputs.device):
            logits = module(inputs[batch])
        loss = functional.cross_entropy(logits.float(), labels[batch], label_smoothing=0.05)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return len(labels) / (now(inputs) - began)


@torch.inference_mode()
def forward(module: nn.Module, inputs: Tensor, *, batch_size: int = 64, dtype: torch.dtype = torch.float32) -> float:
    """Computes a frozen part over tensors in memory and returns img/s."""
    began = now(inputs)
    for batch in inputs.split(batch_size):
        with precision(dtype, inputs.device):
            module(batch)
    return len(inputs) / (now(inputs) - began)


@torch.inference_mode()
def boundary(prefix: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """What the prefix gives for all images, [N, ...], in channels_last where it has four axes."""
    whole = torch.cat([prefix(batch) for batch in batches])
    # Cloned outside the list, contiguous in its own layout: cat may have chosen another.
    return whole.contiguous(memory_format=CHANNELS_LAST) if whole.ndim == 4 else whole.contiguous()


@torch.inference_mode()
def loss_of(module: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy over tensors in memory, in evaluation mode."""
    module.eval()
    return float(functional.cross_entropy(module(inputs).float(), labels))


def head(features: int, classes: int, drop: float = 0.1, device: str = "cpu") -> nn.Module:
    """A new linear head with dropout before it."""
    return nn.Sequential(nn.Dropout(drop), nn.Linear(features, classes)).to(device)
