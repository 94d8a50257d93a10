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


AUGMENTATION_CHECKS: Sequence[Callable[[AugmentationSpec], None]] = (check_draws, check_seeded)
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


def _numpy_state() -> str:
    """The state of numpy's global generator, as text that changes with every draw."""
    state = np.random.get_state(legacy=False)["state"]
    return f"{state['pos']} {state['key'].tobytes().hex()}"
