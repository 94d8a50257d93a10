"""Reads weights with timm's own loading, so that checkpoints of foreign layouts and other sizes fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from autotune.builtin.timm.surveying import create
from autotune.vision.networks import lies_within
from autotune.vision.tensorfiles import Shapes, differences, misfit, read_shapes, shapes_of


def loaded(name: str, path: Path, fresh: Any, head: Sequence[str], at_size: Mapping[str, Any]) -> Any:
    """The network with the classes of the file, the file's weights loaded. No code in the file is run.

    Args:
        name: The architecture, with or without a tag.
        path: A safetensors file, a torch file of tensors only, or numpy's ``.npz`` where timm reads it.
        fresh: The same network without the weights, with any number of classes.
        head: Names of the submodules that make up the head.
        at_size: ``img_size``, if the network needs it.

    Raises:
        CheckpointError: The file is gone, holds more than tensors, or does not fit; names the first differences.
    """
    given = {} if path.suffix == ".npz" else read_shapes(path)
    classes = _classes_in(given, head, fresh)
    expected = create(name, "meta").num_classes if classes is None else classes
    overlay = {
        "file": str(path), "num_classes": expected, "label_offset": 0, "source": None,
        "custom_load": path.suffix == ".npz",
    }  # fmt: skip
    state = torch.get_rng_state()
    try:
        donor = create(name, pretrained=True, num_classes=expected, pretrained_cfg_overlay=overlay, **at_size)
    except (RuntimeError, KeyError, ValueError, IndexError, AttributeError, TypeError, AssertionError) as error:
        wanted = shapes_of(create(name, "meta", num_classes=expected, **at_size).state_dict())
        reasons = differences(f"timm/{name}", given, wanted)
        raise misfit(f"timm/{name}", path, reasons or [str(error)]) from error
    if given and not given.keys() & donor.state_dict().keys():
        # Some architectures load leniently: there a file of another network changes nothing, silently.
        torch.set_rng_state(state)
        if _mostly_equal(donor, create(name, num_classes=expected, **at_size)):
            raise misfit(f"timm/{name}", path, differences(f"timm/{name}", given, shapes_of(donor.state_dict())))
    return donor


def _classes_in(given: Shapes, head: Sequence[str], fresh: Any) -> int | None:
    """The number of classes of the head in the file, where it lies under the network's own names."""
    for name, parameter in fresh.named_parameters():
        if lies_within(name, head) and parameter.shape[0] == fresh.num_classes and name in given:
            return given[name][0]
    return None


def _mostly_equal(one: Any, other: Any) -> bool:
    """Whether most weights of two equal networks are the same, as when both were drawn from the same state."""
    drawn = dict(other.named_parameters())
    pairs = [(p, drawn[n]) for n, p in one.named_parameters() if p.dim() > 1]
    return sum(torch.equal(*pair) for pair in pairs) * 2 > len(pairs)
