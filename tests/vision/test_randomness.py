"""Random states, as tensors."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from autotune.errors import CheckpointError
from autotune.vision.randomness import random_states, restore_random, seed_all


def draws() -> tuple[object, ...]:
    """A draw of every kind."""
    return (
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.standard_normal(),
        *torch.rand(2).tolist(),
        *torch.randn(3).tolist(),
    )


def test_draws_go_on_where_they_were():
    """After other draws, the states put back bring the same ones, normal numbers that were drawn ahead included."""
    seed_all(5)
    draws()
    kept = {name: tensor.clone() for name, tensor in random_states().items()}
    expected = draws()
    draws()
    restore_random(kept)
    assert draws() == expected


def test_one_seed_seeds_all():
    """The same seed gives the same draws of every library, another one others."""
    seed_all(7)
    first = draws()
    seed_all(7)
    assert draws() == first
    seed_all(8)
    assert not set(draws()) & set(first)


def test_a_checkpoint_without_states_changes_nothing():
    """What was saved before states were is restored without them."""
    seed_all(7)
    first = draws()
    seed_all(7)
    restore_random({"model/w": torch.zeros(3)})
    assert draws() == first


@pytest.mark.parametrize("name", ["random/python/words", "random/numpy/MT19937/words", "random/torch"])
def test_nonsense_is_refused(name):
    """Tensors that are no states are an error."""
    kept = random_states()
    with pytest.raises(CheckpointError, match="random states"):
        restore_random({**kept, name: torch.zeros(3, dtype=kept[name].dtype)})


@pytest.mark.gpu
def test_a_gpus_draws_go_on():
    """So do those of each CUDA device."""
    seed_all(5)
    torch.rand(3, device="cuda")
    kept = random_states()
    expected = torch.rand(3, device="cuda")
    restore_random(kept)
    assert torch.equal(torch.rand(3, device="cuda"), expected)
