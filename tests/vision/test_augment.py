from __future__ import annotations

import pytest
import torch

from autotune.vision import POLICIES, build_policy


@pytest.mark.parametrize("name", sorted(POLICIES))
@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 40, 65)])
def test_every_policy_gives_squares_of_bytes_and_repeats_with_its_seed(name, shape):
    """A draw is uint8 [3, 32, 32] whatever the image's size, and the same seed draws the same view."""
    policy = build_policy(name, 32, "bicubic")
    image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    draws = []
    for seed in (3, 3, 4, 5, 6):
        torch.manual_seed(seed)
        draws.append(policy(image))
    assert all(d.dtype == torch.uint8 and d.shape == (3, 32, 32) for d in draws)
    assert torch.equal(draws[0], draws[1])
    varied = any(not torch.equal(draws[0], d) for d in draws[2:])
    assert varied == (name != "none")


@pytest.mark.parametrize("name", ["none", "trivial", "rand", "augmix"])
def test_policies_that_do_not_say_flip_never_mirror(name):
    """An arrow that points right points right in every draw, as far as its two ends can tell."""
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, :, 26:] = 255
    policy = build_policy(name, 32, "bilinear")
    mirrored = 0
    for seed in range(40):
        torch.manual_seed(seed)
        view = policy(image).float()
        left, right = view[..., :6].mean(), view[..., -6:].mean()
        mirrored += int(left > right + 100)
    # Inversion and solarising may swap bright and dark; a policy that flips would do so in half of the draws.
    assert mirrored <= 12
