"""What a frozen network says of an image is computed once.

With everything but the head frozen, the input of the head is the same in every epoch and every trial. It is
computed once for each side, kept in memory and in the cache folder, and the head trains on it alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from autotune.backbone import Backbone
from autotune.checkpoint import read_checkpoint, write_checkpoint
from autotune.errors import CheckpointError
from autotune.vision.device import Placement
from autotune.vision.images import Images, shuffled

VERSION = 1
KEPT = 6


def head_reads_input(module: torch.nn.Module, head: str, sample: torch.Tensor) -> bool:
    """Whether the head alone, given its input, answers what the whole network answers.

    Args:
        module: The network, in evaluation mode.
        head: The dotted name of its head.
        sample: Normalised images float32 [N, 3, S, S].
    """
    with torch.no_grad(), _Tap(module, head) as tap:
        whole = module(sample)
        if not isinstance(whole, torch.Tensor) or tap.seen is None:
            return False
        alone = module.get_submodule(head)(tap.seen)
    return alone.shape == whole.shape and bool(torch.allclose(alone, whole, rtol=1e-4, atol=1e-5))


class Features:
    """A side's head inputs as a feed for the training loop.

    Args:
        inputs: float32 [N, ...], on the CPU.
        labels: int64 [N], on the CPU.
        placement: Where batches go; on a GPU all of them are moved there at once.
        seed: Decides the order.
    """

    def __init__(self, inputs: torch.Tensor, labels: torch.Tensor, placement: Placement, *, seed: int) -> None:
        self.inputs, self.labels = inputs.to(placement.device), labels.to(placement.device)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.labels)

    def epoch(self, epoch: int, batch_size: int) -> Iterator[tuple[tuple[torch.Tensor], torch.Tensor]]:
        """Every sample once, in an order that depends on the seed and the epoch."""
        for part in shuffled(len(self), batch_size, self.seed, epoch):
            indices = part.to(self.inputs.device)
            yield (self.inputs[indices],), self.labels[indices]

    def plain(self) -> Iterator[tuple[torch.Tensor]]:
        """Every sample, in the order of the side."""
        yield from ((part,) for part in torch.split(self.inputs, 4096))


class FeatureStore:
    """Head inputs by backbone, image size and side: the last few in memory, all of them in a folder."""

    def __init__(self) -> None:
        self._memory: dict[str, torch.Tensor] = {}

    def get(
        self,
        images: Images,
        module: torch.nn.Module,
        head: str,
        backbone: Backbone,
        placement: Placement,
        folder: Path,
        *,
        keep_going: Callable[[], bool],
    ) -> torch.Tensor | None:
        """The head's inputs for a side, float32 [N, ...] on the CPU, in the side's order.

        Args:
            images: The side.
            module: The network on its device; put into evaluation mode here.
            head: The dotted name of its head.
            backbone: Names the weights. Random weights are never kept.
            placement: Where the module is.
            folder: Where features are kept between trials and calls.
            keep_going: Asked once a batch; None is returned as soon as it says False.
        """
        key = _fingerprint(images, backbone)
        path = folder / "features" / f"{key}.safetensors"
        if backbone.weights is not None:
            if key in self._memory:
                return self._memory[key]
            if path.exists():
                try:
                    return self._keep(key, read_checkpoint(path).tensors("torch")["features"])
                except CheckpointError:
                    path.unlink(missing_ok=True)
        features = _compute(images, module, head, placement, keep_going)
        if features is not None and backbone.weights is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_checkpoint(path, {"features": features}, {"backbone": backbone.name, "images": len(images)})
            self._keep(key, features)
        return features

    def _keep(self, key: str, features: torch.Tensor) -> torch.Tensor:
        self._memory[key] = features
        while len(self._memory) > KEPT:
            del self._memory[next(iter(self._memory))]
        return features


def _compute(
    images: Images, module: torch.nn.Module, head: str, placement: Placement, keep_going: Callable[[], bool]
) -> torch.Tensor | None:
    module.eval()
    parts: list[torch.Tensor] = []
    with torch.inference_mode(), _Tap(module, head) as tap:
        for (inputs,) in images.plain():
            if not keep_going():
                return None
            with placement.autocast():
                module(inputs)
            if tap.seen is None:
                raise RuntimeError(f"{head} was not called")
            parts.append(tap.seen.float().cpu())
    return torch.cat(parts).clone()


def _fingerprint(images: Images, backbone: Backbone) -> str:
    digest = backbone.weights.digest if backbone.weights else "random"
    parts = (VERSION, backbone.name, digest, images.preprocess, str(images.placement.device).split(":")[0])
    content = hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=12)
    for image in images.split.ids:
        content.update(image.encode())
    return content.hexdigest()


class _Tap:
    """Sees what a submodule is given."""

    def __init__(self, module: torch.nn.Module, name: str) -> None:
        self._target = module.get_submodule(name)
        self.seen: torch.Tensor | None = None

    def __enter__(self) -> _Tap:
        self._hook = self._target.register_forward_pre_hook(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def _see(self, _module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.seen = inputs[0].detach()
