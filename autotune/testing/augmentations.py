"""What every augmentation policy promises, as checks and as a suite. Running them imports torch."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from autotune.specs import AugmentationSpec
from autotune.testing.contract import promise
from autotune.testing.tiny import tiny_images

SHAPES = ((16, 16), (40, 24), (9, 33))


def check_draws(spec: AugmentationSpec) -> None:
    """Images uint8 [3, H, W] of any size become uint8 [3, S, S]; the image itself is not changed."""
    import torch

    for side in (16, 24):
        for interpolation in ("bilinear", "bicubic"):
            draw = spec.build(side, interpolation)
            for height, width in SHAPES:
                image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
                before = image.clone()
                view = draw(image)
                promise(isinstance(view, torch.Tensor), f"{spec.name}: a draw is {type(view).__name__}, no tensor")
                promise(view.dtype == torch.uint8, f"{spec.name}: a draw is {view.dtype}, not uint8")
                promise(
                    tuple(view.shape) == (3, side, side),
                    f"{spec.name}: {height}x{width} becomes {tuple(view.shape)}, not (3, {side}, {side})",
                )
                promise(torch.equal(image, before), f"{spec.name} changes the image that it is given")


def check_seeded(spec: AugmentationSpec) -> None:
    """It draws from torch's global generator only: the same seed gives the same views."""
    import torch

    images, _ = tiny_images(size=24)
    image = torch.from_numpy(images[0]).permute(2, 0, 1)

    def draws() -> list[torch.Tensor]:
        draw = spec.build(16, "bilinear")
        return [draw(image.clone()) for _ in range(12)]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        first = draws()
        python, numpy = random.getstate(), _numpy_state()
        torch.manual_seed(7)
        second = draws()
    promise(
        all(torch.equal(a, b) for a, b in zip(first, second, strict=True)),
        f"{spec.name}: the same seed of torch gives other views; draw from torch's global generator only",
    )
    promise(random.getstate() == python, f"{spec.name} draws from Python's generator; use torch's")
    promise(
        _numpy_state() == numpy,
        f"{spec.name} draws from numpy's generator; use torch's",
    )


def check_batch(spec: AugmentationSpec) -> None:
    """If it draws for batches, every image's own numbers decide its draw, whatever else is in the batch."""
    if spec.build_batch is None:
        return
    import torch

    count = 7
    for side in (16, 24):
        draw = spec.build_batch(side, "bilinear")
        numbers = torch.rand(count, draw.numbers, generator=torch.Generator().manual_seed(5))
        for height, width in SHAPES:
            images = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)
            before, states = images.clone(), (torch.get_rng_state(), random.getstate(), _numpy_state())
            sizes = torch.tensor([[height, width * 2]]).expand(count, 2)
            for given in (None, sizes):
                views = draw(images, numbers, given)
                shape = tuple(views.shape) if isinstance(views, torch.Tensor) else type(views).__name__
                promise(shape == (count, 3, side, side), f"{spec.name}: a batch of {count} becomes {shape}")
                promise(views.dtype == torch.uint8, f"{spec.name}: a batch becomes {views.dtype}, not uint8")
                rows = None if given is None else given.flip(0)
                turned = draw(images.flip(0), numbers.flip(0), rows).flip(0)
                alone = torch.cat([draw(images[i : i + 1], numbers[i : i + 1], sizes[:1]) for i in range(count)])
                promise(torch.equal(views, turned), f"{spec.name}: a draw depends on its place in the batch")
                if given is not None:
                    promise(torch.equal(views, alone), f"{spec.name}: a draw depends on what else is in the batch")
            promise(torch.equal(images, before), f"{spec.name} changes the batch that it is given")
            promise(
                torch.equal(torch.get_rng_state(), states[0])
                and random.getstate() == states[1]
                and _numpy_state() == states[2],
                f"{spec.name} draws from a generator for a batch; take the numbers",
            )


AUGMENTATION_CHECKS: Sequence[Callable[[AugmentationSpec], None]] = (check_draws, check_seeded, check_batch)
"""All of them."""


class AugmentationSuite:
    """Subclass it as ``class TestMine(AugmentationSuite)`` and set `spec`.

    Attributes:
        spec: The policy.
    """

    spec: AugmentationSpec

    def test_draws(self) -> None:
        """Images of any size become views of the size asked for."""
        check_draws(self.spec)

    def test_seeded(self) -> None:
        """The same seed gives the same views."""
        check_seeded(self.spec)

    def test_batch(self) -> None:
        """In a batch every image has its own draw."""
        check_batch(self.spec)


def _numpy_state() -> str:
    """The state of numpy's global generator, as text that changes with every draw."""
    state = np.random.get_state(legacy=False)["state"]
    return f"{state['pos']} {state['key'].tobytes().hex()}"
