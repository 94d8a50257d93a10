"""Reads weights with timm's own loading, so that checkpoints of foreign layouts and other sizes fit."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from timm.models import load_state_dict

import autotune
from autotune.builtin.timm.surveying import create
from autotune.vision.networks import lies_within

Shapes: TypeAlias = dict[str, tuple[int, ...]]

SHOWN = 3


def loaded(name: str, path: Path, twin: Any, head: Sequence[str], at_size: Mapping[str, Any]) -> Any:
    """The network with the classes of the file, the file's weights loaded. No code in the file is run.

    Args:
        name: The architecture, with or without a tag.
        path: A safetensors file, a torch file of tensors only, or numpy's ``.npz`` where timm reads it.
        twin: The same network from the same state of torch's generator, without the weights.
        head: Names of the submodules that make up the head.
        at_size: ``img_size``, if the network needs it.

    Raises:
        CheckpointError: The file is gone, holds more than tensors, or does not fit; names the first differences.
    """
    given = {} if path.suffix == ".npz" else file_shapes(path)
    classes = _classes_in(given, head, twin)
    expected = create(name, "meta").num_classes if classes is None else classes
    overlay = {
        "file": str(path), "num_classes": expected, "label_offset": 0, "source": None,
        "custom_load": path.suffix == ".npz",
    }  # fmt: skip
    try:
        donor = create(name, pretrained=True, num_classes=expected, pretrained_cfg_overlay=overlay, **at_size)
    except (RuntimeError, KeyError, ValueError, IndexError, AttributeError, TypeError, AssertionError) as error:
        wanted = _shapes(create(name, "meta", num_classes=expected, **at_size).state_dict())
        raise _misfit(name, path, given, wanted, str(error)) from error
    if given and not given.keys() & donor.state_dict().keys() and _untouched(donor, twin, head):
        # Some architectures load leniently: there a file of another network changes nothing, silently.
        raise _misfit(name, path, given, _shapes(donor.state_dict()), "no tensor of it was taken")
    return donor


def file_shapes(path: Path) -> Shapes:
    """Names and shapes of the tensors in a file.

    Raises:
        CheckpointError: The file is gone, damaged, or holds more than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return _shapes(load_state_dict(str(path), weights_only=True))
    except FileNotFoundError as error:
        raise autotune.CheckpointError(f"{path}: there is no such file") from error
    except pickle.UnpicklingError as error:
        raise autotune.CheckpointError(
            f"{path}: holds more than tensors, and no code is run to read it",
            hint="save the state dict as safetensors and name that file",
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, AttributeError, ValueError, KeyError) as error:
        raise autotune.CheckpointError(f"{path}: cannot be read as weights ({error})") from error


def _shapes(tensors: Mapping[str, Any]) -> Shapes:
    return {name: tuple(t.shape) for name, t in tensors.items() if isinstance(t, torch.Tensor)}


def _classes_in(given: Shapes, head: Sequence[str], twin: Any) -> int | None:
    """The number of classes of the head in the file, where it lies under the network's own names."""
    for name, parameter in twin.named_parameters():
        if lies_within(name, head) and parameter.shape[0] == twin.num_classes and name in given:
            return given[name][0]
    return None


def _untouched(donor: Any, twin: Any, head: Iterable[str]) -> bool:
    """Whether most weights are as they were drawn."""
    drawn = dict(twin.named_parameters())
    pairs = [(p, drawn[n]) for n, p in donor.named_parameters() if p.dim() > 1 and not lies_within(n, head)]
    return sum(torch.equal(*pair) for pair in pairs) * 2 > len(pairs)


def _misfit(name: str, path: Path, given: Shapes, wanted: Shapes, reason: str) -> autotune.CheckpointError:
    differences = [f"{n} is missing" for n in wanted if n not in given]
    differences += [f"{n} is not timm/{name}'s" for n in given if n not in wanted]
    differences += [
        f"{n} is {list(given[n])} and not {list(wanted[n])}" for n in wanted if n in given and given[n] != wanted[n]
    ]
    shown = differences[:SHOWN] or [reason]
    more = f" (and {len(differences) - SHOWN} more)" if len(differences) > SHOWN else ""
    return autotune.CheckpointError(
        f"{path}: does not fit timm/{name}: " + "; ".join(shown) + more,
        hint="name the backbone that the file was trained with, or another file",
    )
