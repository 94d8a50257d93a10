"""What a CPU's tensors are made of."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PAGES = 2**26 // os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0

CHILD = """
import resource
import torch
from autotune.vision import Placement

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.empty(2**26, dtype=torch.uint8).fill_(1)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20

Placement("cpu")
faults()
print(faults())
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")


def faults(**environment: str) -> int:
    """How many pages a process is given for a tensor of 64 MiB, on average, when some like it were freed before."""
    names = ("MALLOC_", "GLIBC_", "THP_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    ran = subprocess.run(
        [sys.executable, "-c", CHILD], env={**own, **environment}, capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


def test_tensors_are_given_the_memory_of_those_that_were_freed() -> None:
    """Hardly any of their pages is new to the process."""
    assert faults() < PAGES / 10


@pytest.mark.parametrize(
    "environment", [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}]
)
def test_settings_of_ones_own_are_left_alone(environment: dict[str, str]) -> None:
    """Whoever has set how glibc's malloc behaves gets just that: every page is new."""
    assert faults(**environment) >= PAGES
