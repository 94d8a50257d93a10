"""What a linear probe says of images that it has not seen: features, and probabilities by cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autotune.backbone import Backbone
from autotune.data import Split, Task
from autotune.vision.decoded import evaluation_view, to_array
from autotune.vision.device import Placement
from autotune.vision.images import normalise
from autotune.vision.linear_probe import fit_linear
from autotune.vision.preparing import preprocess_for

FOLDS = 5
L2 = 0.1
"""Found on digits and Fashion-MNIST with 5 % wrong labels: at a tenth of it twice as many right ones are doubted."""
GRID = 16
"""Side of the small pixels of colour images; grey ones have as many numbers at 28."""
GREY_GRID = 28
LARGEST = 96
"""Side in pixels that a backbone is given at most: labels are doubted cheaply, or not at all."""

Progress = Callable[[int, int], None]


def pixel_features(side: Split, *, grey: bool, progress: Progress | None = None) -> torch.Tensor:
    """Images made small, as they are: what a probe reads where no network is at hand.

    Args:
        side: The images.
        grey: Whether one channel says all.
        progress: Told how many images are done, and how many there are.

    Returns:
        float32 [N, D], values in [0, 1]; D is 784 for grey images and 768 for others.
    """
    from PIL import Image as Pillow

    length = GREY_GRID if grey else GRID
    rows = torch.empty(len(side), length * length * (1 if grey else 3))
    for i in range(len(side)):
        image = side.image(i)
        small = Pillow.fromarray(image).resize((length, length), Pillow.Resampling.BOX)
        pixels = np.asarray(small, dtype=np.float32) / 255
        rows[i] = torch.from_numpy(pixels[..., :1] if grey else pixels).flatten()
        if progress is not None:
            progress(i + 1, len(side))
    return rows


@torch.no_grad()
def frozen_features(
    side: Split, task: Task, backbone: Backbone, *, device: str, progress: Progress | None = None
) -> torch.Tensor:
    """What a frozen backbone hands to its head, averaged over what is no channel.

    Args:
        side: The images.
        task: Their task.
        backbone: The network.
        device: A torch device name.
        progress: Told how many images are done, and how many there are.

    Returns:
        float32 [N, D] on the CPU.

    Raises:
        DataError: An image has vanished or broken since it was indexed.
    """
    size = backbone.facts.nearest_size(min(backbone.facts.input_size, LARGEST))
    placement = Placement(device)
    torch.manual_seed(0)  # a backbone without weights is random, but the same each time
    module: torch.nn.Module = placement.module(backbone.build(len(task.classes), img_size=size)).eval()
    preprocess = preprocess_for(backbone, size, task)
    view = evaluation_view(preprocess)
    caught: list[torch.Tensor] = []

    def catch(_: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        caught.append(inputs[0])

    handle = module.get_submodule(backbone.head(module)[0]).register_forward_pre_hook(catch)
    parts: list[torch.Tensor] = []
    try:
        for begin in range(0, len(side), placement.eval_batch):
            numbers = range(begin, min(len(side), begin + placement.eval_batch))
            views = torch.stack([view(to_array(side.image(i))) for i in numbers])
            caught.clear()
            with placement.autocast():
                module(normalise(placement.tensor(views), preprocess))
            parts.append(_vectors(caught[0]).float().cpu())
            if progress is not None:
                progress(numbers[-1] + 1, len(side))
    finally:
        handle.remove()
    return torch.cat(parts)


def cross_fitted(
    features: torch.Tensor, labels: npt.NDArray[np.int64], ids: Sequence[str], *, classes: int
) -> npt.NDArray[np.float32]:
    """Probabilities of every image by a linear probe that was fitted to others.

    Copies of an image, which bear one id, are in one fold, so that none is told from another.

    Args:
        features: float32 [N, D].
        labels: int64 [N].
        ids: Hashes of the pixels, 16 hexadecimal digits.
        classes: How many classes there are, C.

    Returns:
        float32 [N, C], each row summing to 1.

    Raises:
        Diverged: The features are not finite.
    """
    # Dealt out in the order of the hashes: even in number, and the same whatever the images are called.
    dealt = {id: number % FOLDS for number, id in enumerate(sorted(set(ids)))}
    folds = torch.tensor([dealt[id] for id in ids])
    targets = torch.from_numpy(labels)
    probabilities = torch.full((len(labels), classes), 1 / classes)
    for fold in range(FOLDS):
        held = folds == fold
        if bool(held.any()) and not bool(held.all()):
            weight, bias = fit_linear(features[~held], targets[~held], classes=classes, l2=L2)
            probabilities[held] = torch.softmax(features[held] @ weight.T + bias, dim=1)
    return np.asarray(probabilities.numpy(), dtype=np.float32)


def _vectors(features: torch.Tensor) -> torch.Tensor:
    """One vector an image: of a map [B, C, H, W] or of tokens [B, L, C] the mean."""
    if features.ndim == 4:
        return features.mean(dim=(2, 3))
    return features.mean(dim=1) if features.ndim == 3 else features.flatten(1)
