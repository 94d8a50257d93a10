"""Work beside the usual stream, and where a GPU is waited for."""

from __future__ import annotations

import pytest
import torch

from autotune.vision.streams import beside, waits


@pytest.mark.gpu
def test_work_beside_comes_in_order():
    """What is computed beside the usual stream sees what came before, and is seen by what comes after."""
    value = torch.zeros(2**22, device="cuda:0")
    usual = torch.cuda.current_stream()
    for _ in range(20):
        value += 1
        with beside("cuda:0") as stream:
            assert torch.cuda.current_stream() == stream != usual
            value *= 2
    assert torch.cuda.current_stream() == usual
    assert value.unique().tolist() == [2.0**21 - 2]


@pytest.mark.gpu
def test_waits_are_found_with_their_place():
    """Reading a number from the GPU is found with its file and line; adding two is not."""
    value = torch.ones(3, device="cuda:0")
    with waits() as none:
        value + value
    with waits() as found:
        value.sum().item()
    assert none == []
    assert len(found) == 1
    assert found[0].startswith(__file__)
    assert torch.cuda.get_sync_debug_mode() == 0
