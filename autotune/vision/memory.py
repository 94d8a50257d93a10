"""How much memory there is, and how much of it is free."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")


def memory_of_machine() -> int:
    """Bytes of memory that this process may use at most: the machine's, or its container's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no container, or "max"
        total = min(total, int((CONTAINER / "memory.max").read_text()))
    return total


def memory_available() -> int:
    """Bytes that all processes together may still take: of the machine, or of the container.

    What only keeps files at hand counts as free. Where the system does not say, it is all the memory that there is.
    """
    free = total = memory_of_machine()
    with contextlib.suppress(OSError, ValueError, KeyError):  # no Linux
        free = min(free, 1024 * _figures(MEMINFO)["MemAvailable"])
    with contextlib.suppress(OSError, ValueError, KeyError):  # no container
        figures = _figures(CONTAINER / "memory.stat")
        files = figures["active_file"] + figures["inactive_file"]
        free = min(free, total - int((CONTAINER / "memory.current").read_text()) + files)
    return max(0, free)


def _figures(path: Path) -> dict[str, int]:
    """The numbers of a file with a name and a number in each line."""
    lines = (line.replace(":", " ").split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}
