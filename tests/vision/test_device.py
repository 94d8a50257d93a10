from __future__ import annotations

import pytest
import torch

from autotune.errors import OutOfMemory, UsageError
from autotune.vision import Placement, is_out_of_memory, memory_named, pick_device


def test_auto_finds_a_device_and_names_are_checked():
    """``auto`` is a device that exists; absurd names and missing GPUs are one clear error."""
    assert pick_device("auto").split(":")[0] in ("cpu", "cuda", "mps")
    assert pick_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="'gpu' is no device"):
        pick_device("gpu")
    with pytest.raises(UsageError, match="CUDA devices"):
        pick_device("cuda:99")


def test_a_real_failed_allocation_is_recognised():
    """What torch raises when the CPU's memory does not suffice counts as out of memory; other errors do not."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: out of memory",
    ],
)
def test_what_a_gpus_libraries_say_is_recognised(text):
    """They raise plain errors where they find no memory; another error of theirs is none of it."""
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"))


def test_memory_that_runs_out_is_named_and_nothing_else_is():
    """A real failed allocation names the device and what to change; other errors pass as they are."""
    with pytest.raises(OutOfMemory, match=r"memory ran out on cpu: \S") as caught, memory_named("cpu", "buy more"):
        torch.empty(2**60, dtype=torch.uint8)
    assert caught.value.hint == "buy more"
    with pytest.raises(OutOfMemory, match="on cpu: MemoryError"), memory_named("cpu", "buy more"):
        raise MemoryError
    with pytest.raises(RuntimeError, match="shapes do not match"), memory_named("cpu", "buy more"):
        raise RuntimeError("shapes do not match")


@pytest.mark.gpu
def test_on_a_gpu_training_is_bf16_and_channels_last():
    """CUDA trains in bf16 autocast, in channels_last, with loader processes."""
    placement = Placement(pick_device("cuda:0"))
    module = placement.module(torch.nn.Conv2d(3, 8, 3))
    with placement.autocast():
        out = module(torch.randn(2, 3, 8, 8, device="cuda"))
    assert out.dtype == torch.bfloat16
    assert module.weight.is_contiguous(memory_format=torch.channels_last)
    assert placement.workers > 0
