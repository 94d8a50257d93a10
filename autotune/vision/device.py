"""Where a trial computes, and in which precision and memory layout."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from autotune.errors import OutOfMemory, UsageError
from autotune.vision.allocation import keep_freed_memory
from autotune.vision.memory import memory_available

keep_freed_memory()

NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")
"""What plain errors say where memory ran out: of the CPU, of a GPU's driver, of cuBLAS and cuDNN."""
PINNED_FIRST = 2**22
"""Bytes up to which a tensor is pinned on its way; whole caches would take too much memory that cannot be swapped."""


def pick_device(name: str) -> str:
    """Resolves ``auto`` to ``cuda:0``, ``mps`` or ``cpu``, and checks any other name.

    Raises:
        UsageError: There is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda:0"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device={name!r} is no device", hint="use auto, cpu, cuda:0 or mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device={name!r}: this machine has {torch.cuda.device_count()} CUDA devices", hint="use device=auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"device={name!r}: this machine has no Metal device", hint="use device=auto")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device={name!r} is not supported", hint="use auto, cpu, cuda:0 or mps")
    return f"cuda:{device.index or 0}" if device.type == "cuda" else device.type


@dataclass(frozen=True, slots=True)
class Placement:
    """A device with the settings that train fastest on it.

    On CUDA: bf16 autocast where the GPU has it, channels_last, pinned memory and non-blocking copies, and
    loader processes. On the CPU: float32 and channels_last; the images are prepared in the training process,
    which leaves the cores to the network.

    Attributes:
        device: A torch device name.
    """

    device: str

    @property
    def is_cuda(self) -> bool:
        """Whether this is an NVIDIA (or ROCm) GPU."""
        return self.device.startswith("cuda")

    @property
    def workers(self) -> int:
        """Loader processes."""
        return min(8, os.cpu_count() or 1) if self.is_cuda else 0

    @property
    def eval_batch(self) -> int:
        """Images a batch where no gradients are kept."""
        return 256 if self.is_cuda else 64

    @property
    def free_memory(self) -> int:
        """Bytes that may still be taken; on a GPU with those that torch holds and does not use."""
        if not self.is_cuda:
            return memory_available()
        unused = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return int(torch.cuda.mem_get_info(self.device)[0]) + unused

    def give_back(self) -> None:
        """Gives a GPU's memory that torch holds and does not use back, so that it can be taken in other pieces."""
        if self.is_cuda:
            torch.cuda.empty_cache()

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The precision to train in: bf16 where the GPU supports it, else float32."""
        if self.is_cuda and _has_bf16(self.device):
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()

    def now(self) -> float:
        """Seconds of a clock that does not jump, once the device has done what it was given."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)
        return time.monotonic()

    def module(self, module: torch.nn.Module) -> torch.nn.Module:
        """Moves a module to the device, in channels_last layout."""
        return module.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """Moves a tensor to the device; a GPU is not waited for if it is pinned, or small enough to be pinned first."""
        if self.is_cuda and tensor.device.type == "cpu" and tensor.nbytes <= PINNED_FIRST and not tensor.is_pinned():
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)


@functools.cache
def _has_bf16(device: str) -> bool:
    """Whether a GPU computes in bf16; asked once, and not in every step."""
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in NO_MEMORY)


@contextlib.contextmanager
def memory_named(device: str, hint: str) -> Iterator[None]:
    """Gives memory that runs out within, wherever it does, the name of that failure.

    Args:
        device: For the message.
        hint: What the user may change.

    Raises:
        OutOfMemory: Memory ran out; any other exception passes as it is.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise OutOfMemory(f"memory ran out on {device}: {said}", hint=hint) from error
