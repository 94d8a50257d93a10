"""From a split's images to batches of tensors."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from autotune.data import Split
from autotune.model import Preprocess
from autotune.vision.ahead import ahead
from autotune.vision.arrays import ArrayCache
from autotune.vision.decoded import VERSION, Decoded, Rows, digest, evaluated, sources
from autotune.vision.device import Placement
from autotune.vision.drawing import ImageByImage
from autotune.vision.imbalance import Draws, in_batches
from autotune.vision.seeds import derive

if TYPE_CHECKING:
    from autotune.specs import AugmentationSpec

T = TypeVar("T")

FEW = 4
UNVARIED = "none"
"""The name of the policy that draws nothing: the image as evaluation sees it."""


@functools.cache
def _scale(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of bytes, kept on their device: making them there makes a GPU wait."""
    return torch.tensor(mean, device=device) * 255, torch.tensor(std, device=device) * 255


def normalise(batch: torch.Tensor, preprocess: Preprocess) -> torch.Tensor:
    """Scales uint8 [N, 3, S, S] to float32 with the backbone's mean and deviation, in channels_last."""
    mean, std = _scale(tuple(preprocess.mean), tuple(preprocess.std), batch.device)
    if batch.device.type != "cpu":
        shape = (1, 3, 1, 1)
        scaled = batch.to(torch.float32, memory_format=torch.channels_last)
        return scaled.sub_(mean.view(shape)).div_(std.view(shape))
    # Whole rows of pixels at once: an inner loop over three channels takes five times as long on a CPU.
    count, channels, height, width = batch.shape
    if not batch.is_contiguous(memory_format=torch.channels_last):
        batch = torch.stack(batch.unbind(1), dim=3).permute(0, 3, 1, 2)
    rows = batch.permute(0, 2, 3, 1).reshape(count * height, width * channels).float()
    rows = rows.sub_(mean.repeat(width)).div_(std.repeat(width))
    return rows.view(count, height, width, channels).permute(0, 3, 1, 2)


class Feed(Protocol):
    """What a training loop reads: batches of inputs, on the device.

    Inputs are a tuple, because what passes between two parts of a network may be several tensors; images are one,
    float32 [N, 3, S, S].
    """

    def __len__(self) -> int:
        """Number of samples."""

    def epoch(self, epoch: int, batch_size: int) -> Iterator[tuple[tuple[torch.Tensor, ...], torch.Tensor]]:
        """Inputs [N, ...] and targets, as many samples as there are, in an order that depends on seed and epoch.

        Targets are labels int64 [N], or float32 [N, C] where samples have probabilities for labels.
        """

    def plain(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Inputs [N, ...] as evaluation sees them, in the order of the side."""


def shuffled(
    count: int, batch_size: int, seed: int, epoch: int, cuts: Sequence[int] | None = None
) -> Sequence[torch.Tensor]:
    """Indices of an epoch's batches; see `in_batches`."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(derive(seed, "order", epoch)))
    return in_batches(order, batch_size, cuts)


def _always() -> bool:
    return True


def _unheard(_: str) -> None:
    """Nobody keeps the line."""


class Images:
    """A side's images for training and evaluation.

    Every draw of the policy takes its own row of one table of uniform numbers, so that it depends on the seed and the
    image's place and never on the batch, the order or the process.

    Args:
        split: The side.
        preprocess: How images become the network's inputs.
        placement: Where they go.
        seed: The order derives from it, and fresh draws do.
        policy: The augmentation for `epoch`; None for a side that is only evaluated.
        views: How many views of each image are drawn once and then walked through, epoch by epoch; they are the same
            in every trial. 0 draws afresh in every epoch.
        soft: Probabilities float32 [N, C] to train on instead of the split's labels; None takes the labels.
        power: How evenly classes are drawn, from 0, every image once an epoch, to 1, every class equally often; see
            `autotune.vision.Balancing`. An image that comes twice in an epoch is drawn by the policy twice, unless
            its views are fixed.
        cache: Where decoded images are kept and shared; None keeps them in memory.
        keep_going: Asked while images are decoded ahead; see `autotune.Run.stop`.
        note: Keeps a line with the trial.

    Attributes:
        targets: What is trained on, on the CPU: labels int64 [N], or probabilities float32 [N, C].
    """

    def __init__(
        self,
        split: Split,
        preprocess: Preprocess,
        placement: Placement,
        *,
        seed: int = 0,
        policy: AugmentationSpec | None = None,
        views: int = 0,
        soft: npt.NDArray[np.float32] | None = None,
        power: float = 0.0,
        cache: ArrayCache | None = None,
        keep_going: Callable[[], bool] = _always,
        note: Callable[[str], None] = _unheard,
    ) -> None:
        self.split, self.preprocess, self.placement, self.seed = split, preprocess, placement, seed
        self.policy = policy if policy is not None and policy.name != UNVARIED else None
        self.views = views
        self._draws = Draws(split.labels, power=power, seed=seed) if power else None
        self.digest = digest(split)
        self._digests: dict[int, str] = {}
        self.targets = torch.from_numpy(split.labels if soft is None else soft)
        self._evaluated = evaluated(split, preprocess, cache, keep_going=keep_going, note=note)
        self._draw = None
        self._each = None
        if self.policy is not None:
            size, interpolation = preprocess.img_size, preprocess.interpolation
            if self.policy.build_batch is not None:
                self._draw = self.policy.build_batch(size, interpolation)
                self._sources = sources(split, preprocess, cache, keep_going=keep_going, note=note)
            else:
                self._each = ImageByImage(split, self.policy.build(size, interpolation), size, placement)

    def __len__(self) -> int:
        return len(self.split)

    @property
    def fixed(self) -> bool:
        """Whether the same image always gives the same input, the one that evaluation sees."""
        return self.policy is None

    def seen(self, view: int | None) -> str:
        """Names everything, beside the images, that decides the inputs: of a fixed view, or of `plain` for None."""
        shown = self.preprocess
        drawn = "as evaluation sees them"
        if view is not None and self.policy is not None:
            drawn = f"{self.policy.name} {view} {self._drawing(view)}"
        return (
            f"{drawn}, {shown.img_size} px {shown.interpolation} of {shown.crop_pct:g}, "
            f"mean {shown.mean} std {shown.std}, {VERSION}"
        )

    def _drawing(self, view: int) -> str:
        """A digest of a view of a few images: another version of a policy draws something else."""
        if view not in self._digests:
            few = torch.arange(min(FEW, len(self)))
            (pixels,) = next(iter(self._view(view, [few])))
            self._digests[view] = hashlib.blake2b(pixels.cpu().numpy().tobytes(), digest_size=8).hexdigest()
        return self._digests[view]

    def epoch(
        self, epoch: int, batch_size: int, *, cuts: Sequence[int] | None = None
    ) -> Iterator[tuple[tuple[torch.Tensor], torch.Tensor]]:
        """As many images as there are, normalised, with views and in an order that depend on seed and epoch only.

        Args:
            epoch: Which pass over the side.
            batch_size: Images in a batch, at most.
            cuts: Rising places in the order, from each of which to the next a batch goes instead: for what begins or
                ends in the middle of a pass.
        """
        parts = self.order(epoch, batch_size, cuts)
        # What a draw is made from: the image's place, or, where one comes several times, the place in the epoch.
        rows = parts if self._draws is None else in_batches(torch.arange(len(self)), batch_size, cuts)
        fresh = self._drawn(parts, rows, self.seed, "view", epoch)
        batches = self._view(epoch % self.views, parts) if self.views else fresh
        yield from zip(batches, self._targets_of(parts), strict=True)

    def _targets_of(self, parts: Sequence[torch.Tensor]) -> Iterable[torch.Tensor]:
        """The targets of each batch; labels all at once, since each copy to a GPU takes as long as some of a step."""
        if not parts or self.targets.ndim > 1:
            return (self.placement.tensor(self.targets[part]) for part in parts)
        whole = self.placement.tensor(self.targets[torch.cat(list(parts))])
        return torch.split(whole, [len(part) for part in parts])

    def order(self, epoch: int, batch_size: int, cuts: Sequence[int] | None = None) -> Sequence[torch.Tensor]:
        """The images of each batch of an epoch, int64 [B] on the CPU; arguments as for `epoch`."""
        if self._draws is None:
            return shuffled(len(self), batch_size, self.seed, epoch, cuts)
        return in_batches(self._draws.epoch(epoch), batch_size, cuts)

    def plain(self) -> Iterator[tuple[torch.Tensor]]:
        """The side once, normalised, in its own order, as evaluation sees it."""
        yield from self._unvaried(self._in_order())

    def rows(self, indices: torch.Tensor, view: int | None = None) -> torch.Tensor:
        """Some images, normalised, in one of the fixed views or as evaluation sees them.

        Args:
            indices: int64 [B] on the CPU.
            view: Which of the fixed views; None is what evaluation sees.

        Returns:
            float32 [B, 3, S, S] on the device.
        """
        batches = self._unvaried([indices]) if view is None else self._view(view, [indices])
        return next(iter(batches))[0]

    def view(self, v: int) -> Iterator[tuple[torch.Tensor]]:
        """The v'th of the fixed views, normalised, in the side's own order."""
        yield from self._view(v, self._in_order())

    def _in_order(self) -> Sequence[torch.Tensor]:
        return torch.split(torch.arange(len(self)), self.placement.eval_batch)

    def _view(self, v: int, parts: Sequence[torch.Tensor]) -> Iterator[tuple[torch.Tensor]]:
        # The same in every trial, so that what is computed from it is too.
        return self._drawn(parts, parts, 0, "view", self.policy.name if self.policy else UNVARIED, v)

    def _drawn(
        self, parts: Sequence[torch.Tensor], rows: Sequence[torch.Tensor], seed: int, *purpose: object
    ) -> Iterator[tuple[torch.Tensor]]:
        """One draw of the policy for every image of each part; its row, the seed and the purpose decide it."""
        if self._each is not None:
            for images in self._each.batches(parts, rows, lambda row: derive(seed, *purpose, row)):
                yield (normalise(self.placement.tensor(images), self.preprocess),)
            return
        if self._draw is None:
            yield from self._unvaried(parts)
            return
        draw = self._draw
        table = torch.rand(
            len(self), self._draw.numbers, generator=torch.Generator().manual_seed(derive(seed, *purpose))
        )

        def drawn(found: Rows, number: int) -> tuple[torch.Tensor]:
            pixels, sizes = found
            there = self.placement.tensor(pixels)
            return (normalise(draw(there, table[rows[number]], sizes.long()), self.preprocess),)

        # Drawn ahead as well: what a policy works out on the CPU takes as long as a step of a small network.
        yield from self._read(self._sources, parts, drawn)

    def _unvaried(self, parts: Sequence[torch.Tensor]) -> Iterator[tuple[torch.Tensor]]:
        for (pixels,) in self._read(self._evaluated, parts, lambda found, _: found):
            yield (normalise(self.placement.tensor(pixels), self.preprocess),)

    def _read(self, decoded: Decoded, parts: Sequence[torch.Tensor], made: Callable[[Rows, int], T]) -> Iterator[T]:
        """What is made of the rows of each part, and of its number; for a GPU, of pinned ones and one batch ahead."""
        decoded.ready()
        if not self.placement.is_cuda:
            yield from (made(decoded.rows(part), number) for number, part in enumerate(parts))
            return

        def pinned(found: Rows | None, number: int) -> T | None:
            return None if found is None else made((found[0].pin_memory(), *found[1:]), number)

        early = ahead(pinned(decoded.read(part), number) for number, part in enumerate(parts))
        for number, (one, part) in enumerate(zip(early, parts, strict=True)):
            # Rows are made anew by this thread: the host is asked meanwhile, and told.
            yield made(decoded.rows(part), number) if one is None else one
