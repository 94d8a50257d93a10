"""Files of weights, read without running code from them, and what to say of one that does not fit."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from autotune.errors import CheckpointError

Shapes: TypeAlias = dict[str, tuple[int, ...]]

SHOWN = 3
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts keep the state dict, in the order in which they are looked for."""


def read_tensors(path: Path) -> OrderedDict[str, torch.Tensor]:
    """The state dict in a file, on the CPU.

    Args:
        path: A safetensors file, or a torch file of tensors, wrapped as training scripts do or not.

    Raises:
        CheckpointError: The file is gone, damaged, or holds more than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return OrderedDict(load_file(path))
        with warnings.catch_warnings():
            # torch warns of pickles that it may not read; whether it does is what we find out.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        return _unwrapped(content)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors, and no code is run to read it",
            hint="save the state dict as safetensors and name that file",
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read as weights ({error})") from error


def read_shapes(path: Path) -> Shapes:
    """Names and shapes of the tensors in a file; of a safetensors file no tensor is read.

    Raises:
        CheckpointError: The file is gone, damaged, or holds more than tensors.
    """
    if path.suffix != ".safetensors" or not path.exists():
        return shapes_of(read_tensors(path))
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as weights ({error})") from error


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> Shapes:
    """The shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def differences(backbone: str, given: Shapes, wanted: Shapes) -> list[str]:
    """What a file lacks, has in another shape, or has too much, one line a tensor.

    Args:
        backbone: ``source/name``.
        given: What the file holds.
        wanted: What the network takes.
    """
    missing = [f"{n} is missing" for n in wanted if n not in given]
    other = [f"{n} is {list(given[n])} and not {list(s)}" for n, s in wanted.items() if given.get(n, s) != s]
    return [*missing, *other, *(f"{n} is not {backbone}'s" for n in given if n not in wanted)]


def misfit(backbone: str, path: Path, reasons: Sequence[str]) -> CheckpointError:
    """The error for a file that does not fit a network.

    Args:
        backbone: ``source/name``.
        path: The file.
        reasons: Why, at least one; the first three are shown.
    """
    more = f" (and {len(reasons) - SHOWN} more)" if len(reasons) > SHOWN else ""
    return CheckpointError(
        f"{path}: does not fit {backbone}: " + "; ".join(reasons[:SHOWN]) + more,
        hint="name the backbone that the file was trained with, or another file",
    )


def _unwrapped(content: Any) -> OrderedDict[str, torch.Tensor]:
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise ValueError(f"a {type(content).__name__} and no state dict")
    tensors = OrderedDict(
        (name.removeprefix("module."), tensor) for name, tensor in content.items() if isinstance(tensor, torch.Tensor)
    )
    if not tensors:
        raise ValueError("no tensors in it")
    # The versions of modules, by which torch reads files of older ones.
    vars(tensors)["_metadata"] = getattr(content, "_metadata", None)
    return tensors
