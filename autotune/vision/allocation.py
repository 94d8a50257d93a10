"""What a CPU's tensors are made of.

glibc asks the kernel for every block above a threshold, of 32 MB at most, and gives it back as soon as it is freed. The
kernel fills each page with zeros when it is first touched, which takes as long as many a layer. With freed blocks kept
for the next tensor, EfficientNet-Lite0 (96 px, batches of 64) looks at half as many images again to twice as many in a
second, and trains on a seventh more, in as much memory.
"""

from __future__ import annotations

import ctypes
import os
import platform

MMAP_MAX, TRIM_THRESHOLD = -4, -1
"""Numbers of the settings; see mallopt(3)."""

SETTINGS = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1}
"""No block of its own for any tensor, and up to 2 GiB of freed memory kept at the end of the heap."""

NAMES = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


def keep_freed_memory() -> bool:
    """Lets this process keep the memory of freed tensors for the next ones.

    Returns:
        Whether it does: not where the C library is another than glibc, nor where the environment has settings of its
        own for glibc's malloc.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in NAMES):
        return False
    if "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(setting, value) == 1 for setting, value in SETTINGS.items())
