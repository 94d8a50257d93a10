"""Streams of a GPU, and what a capture of their work needs around it."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator

import torch


@functools.cache
def _stream(device: str) -> torch.cuda.Stream:
    """One for all trainings: torch keeps workspaces for every stream."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def beside(device: str) -> Iterator[torch.cuda.Stream]:
    """Work on a stream of its own, after what the current one was given and before what it is given next."""
    usual, stream = torch.cuda.current_stream(device), _stream(device)
    stream.wait_stream(usual)
    with torch.cuda.device(device), torch.cuda.stream(stream):
        yield stream
    usual.wait_stream(stream)


@contextlib.contextmanager
def waits() -> Iterator[list[str]]:
    """Where in the code the GPU was waited for, once the block has ended."""
    found: list[str] = []
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    found += [f"{one.filename}:{one.lineno}" for one in caught if "synchronizing CUDA" in str(one.message)]


def abandon(graph: torch.cuda.CUDAGraph, pool: tuple[int, int], device: str) -> None:
    """Takes back what a capture that failed had begun; torch leaves its pool open, and all that lies in it kept."""
    graph.reset()
    index = torch.device(device).index or 0
    with contextlib.suppress(RuntimeError, AttributeError):  # it was ended, or this torch has no name for it
        torch._C._cuda_endAllocateToPool(index, pool)
        torch._C._cuda_releasePool(index, pool)
    torch.cuda.synchronize(device)
