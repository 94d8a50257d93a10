"""The random states of every library that a training may draw from, as tensors.

autotune's own draws derive from a trial's seed and the epoch and need no state; what a guest's augmentation or model
draws from Python, numpy or torch goes on by these as if nobody had interrupted it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import torch

from autotune.errors import CheckpointError
from autotune.vision.seeds import derive

RANDOM = "random/"
_PYTHON, _NUMPY, _TORCH, _CUDA = (f"{RANDOM}{name}" for name in ("python", "numpy", "torch", "cuda"))


def seed_all(seed: int) -> None:
    """Seeds Python, numpy and torch, each by its own seed derived from one."""
    random.seed(derive(seed, "python"))
    np.random.seed(derive(seed, "numpy") % 2**32)
    torch.manual_seed(seed)


def random_states() -> dict[str, torch.Tensor]:
    """The states as tensors, by names that begin with ``random/``: of Python, numpy, torch, and each CUDA device used.

    Python's and numpy's are int64: the words of the generator and the place in them; and a float64 of one entry for a
    normal number that was drawn ahead, or of none.
    """
    version, words, ahead = random.getstate()
    name, keys, place, there, drawn = np.random.get_state(legacy=True)
    states = {
        f"{_PYTHON}/words": torch.tensor([version, *words], dtype=torch.int64),
        f"{_PYTHON}/ahead": torch.tensor([] if ahead is None else [ahead], dtype=torch.float64),
        f"{_NUMPY}/{name}/words": torch.tensor([*np.asarray(keys).tolist(), int(place)], dtype=torch.int64),
        f"{_NUMPY}/{name}/ahead": torch.tensor([drawn] if there else [], dtype=torch.float64),
        _TORCH: torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states |= {f"{_CUDA}/{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_random(tensors: Mapping[str, torch.Tensor]) -> None:
    """Puts states back that `random_states` gave; those of devices that are not here are left out.

    What was saved without them, by an earlier version, changes nothing.

    Raises:
        CheckpointError: They are no such states.
    """
    try:
        if f"{_PYTHON}/words" in tensors:
            version, *words = tensors[f"{_PYTHON}/words"].tolist()
            ahead = tensors[f"{_PYTHON}/ahead"].tolist()
            random.setstate((version, tuple(words), ahead[0] if ahead else None))
        for name in (n for n in tensors if n.startswith(f"{_NUMPY}/") and n.endswith("/words")):
            *keys, place = tensors[name].tolist()
            ahead = tensors[f"{name.removesuffix('words')}ahead"].tolist()
            kind = name.split("/")[2]
            np.random.set_state((kind, np.array(keys, np.uint32), place, int(bool(ahead)), ahead[0] if ahead else 0.0))
        if _TORCH in tensors:
            torch.set_rng_state(tensors[_TORCH].cpu())
        if torch.cuda.is_available():
            for device in range(torch.cuda.device_count()):
                if (state := tensors.get(f"{_CUDA}/{device}")) is not None:
                    torch.cuda.set_rng_state(state.cpu(), device)
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"the checkpoint's random states are none ({error})") from error
