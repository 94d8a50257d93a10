"""Checkpoints: named tensors beside readable facts, written atomically, verified when read.

A checkpoint is two files, ``NAME.safetensors`` and ``NAME.json``. The json holds the facts, the format's
version, the sha256 of the tensors and one of its own; it is renamed into place last, so a checkpoint either is
whole or is not there. Reading one runs no code.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.errors import CheckpointError

if TYPE_CHECKING:
    from autotune.backbone import Backbone

FORMAT = 2
"""Since 2 the facts have a checksum too; older ones are read without."""
_OWN = "facts_sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A saved state.

    Attributes:
        path: The safetensors file; the facts lie beside it with the suffix ``.json``.
        facts: What the trainer, and the host, said of it (json types only).
        backbone: The backbone that the facts name, where the host has resolved it.
    """

    path: Path
    facts: Mapping[str, Any]
    backbone: Backbone | None = None

    def tensors(self, framework: str = "numpy", device: str = "cpu") -> dict[str, Any]:
        """Reads the tensors.

        Args:
            framework: ``numpy`` or ``torch``.
            device: Where torch puts them.

        Raises:
            CheckpointError: The file is gone, cut short or altered.
        """
        try:
            blob = self.path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be read ({error.strerror})") from error
        if hashlib.sha256(blob).hexdigest() != self.facts.get("sha256"):
            raise CheckpointError(
                f"{self.path}: its bytes are not those that were saved",
                hint="it was cut short or altered; use another checkpoint, or run the search again",
            )
        return _deserialise(blob, framework, device)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCheckpoint(Checkpoint):
    """A state that lies in memory and was written nowhere, e.g. the mean of several.

    Attributes:
        held: Its tensors by name, numpy arrays or torch tensors, all of one kind.
    """

    held: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def tensors(self, framework: str = "numpy", device: str = "cpu") -> dict[str, Any]:
        """Copies of the tensors; see `Checkpoint.tensors`."""
        return _deserialise(_serialise(self.held), framework, device)


def write_checkpoint(
    path: Path, tensors: Mapping[str, Any], facts: Mapping[str, Any], *, durable: bool = True
) -> Checkpoint:
    """Writes a checkpoint atomically: tensors first, then the facts that vouch for them.

    Args:
        path: The safetensors file to write; its folder exists.
        tensors: numpy arrays or torch tensors, all of one kind.
        facts: json types only.
        durable: Whether to wait until the disk has it. A reader, or a crash of the process, never sees a part of it
            either way; after a power cut, its checksum tells.
    """
    blob = _serialise(tensors)
    facts = {**facts, "format": FORMAT, "sha256": hashlib.sha256(blob).hexdigest()}
    facts[_OWN] = _digest(json.loads(json.dumps(facts, allow_nan=False)))
    text = json.dumps(facts, indent=1, allow_nan=False)
    write_atomically(path, blob, durable=durable)
    try:
        write_atomically(path.with_suffix(".json"), text.encode(), durable=durable)
    except BaseException:
        path.unlink(missing_ok=True)  # nothing vouches for it, and the disk may be full
        raise
    return Checkpoint(path=path, facts=facts)


def read_checkpoint(path: Path, *, backbone: Backbone | None = None) -> Checkpoint:
    """Opens a checkpoint; its tensors are verified when they are read.

    Raises:
        CheckpointError: It is not there, its facts are no json or were altered, or its format is newer than this
            autotune.
    """
    try:
        facts = json.loads(path.with_suffix(".json").read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such checkpoint") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.with_suffix('.json')}: cannot be read ({error})") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise CheckpointError(f"{path.with_suffix('.json')}: these are not a checkpoint's facts")
    if facts["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: format {facts['format']} is newer than this autotune reads ({FORMAT})",
            hint="upgrade autotune: pip install -U autotune-vision",
        )
    if facts["format"] > 1 and facts.get(_OWN) != _digest(facts):
        raise CheckpointError(
            f"{path.with_suffix('.json')}: these are not the facts that were saved",
            hint="they were altered; use another checkpoint, or run the search again",
        )
    return Checkpoint(path=path, facts=facts, backbone=backbone)


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Writes a file so that a reader, or a crash, sees either the old content or the new one.

    Unless it is durable, that holds for a crash of the process, not for a power cut.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _digest(facts: Mapping[str, Any]) -> str:
    """The checksum of facts as they are read from a file, whatever their order and layout."""
    own = {name: value for name, value in facts.items() if name != _OWN}
    return hashlib.sha256(json.dumps(own, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _deserialise(blob: bytes, framework: str, device: str) -> dict[str, Any]:
    if framework == "torch":
        from safetensors.torch import load as load_torch

        return {name: tensor.to(device) for name, tensor in load_torch(blob).items()}
    from safetensors.numpy import load as load_numpy

    return dict(load_numpy(blob))


def _serialise(tensors: Mapping[str, Any]) -> bytes:
    if any(type(t).__module__.split(".")[0] == "torch" for t in tensors.values()):
        from safetensors.torch import save as save_torch

        return save_torch({n: t.detach().cpu().contiguous() for n, t in tensors.items()})
    import numpy as np
    from safetensors.numpy import save as save_numpy

    return save_numpy({n: np.asarray(t, order="C") for n, t in tensors.items()})
