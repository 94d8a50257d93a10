"""Numbers of bytes as people write them: ``20GB``, ``500 MB``, ``1.5GiB``, or just a number."""

from __future__ import annotations

import re

_UNITS = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3, "B": 1, "": 1}
_UNITS |= {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
_BY_NAME = {name.lower(): size for name, size in _UNITS.items()}
_SHAPE = re.compile(r"(\d{1,18}(?:\.\d+)?)\s*([a-z]*)")


def parse_bytes(value: object) -> int:
    """Bytes from ``20GB``, ``500 MB``, ``1.5GiB`` or a whole number; 0 is one.

    Raises:
        ValueError: It is no number of bytes; says what to write.
    """
    remedy = "write e.g. 20GB, 500MB, or a whole number of bytes"
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError(f"is below zero; {remedy}")
        return value
    found = _SHAPE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if found is None or found[2] not in _BY_NAME:
        raise ValueError(f"is no number of bytes; {remedy}")
    return round(float(found[1]) * _BY_NAME[found[2]])


def format_bytes(nbytes: int) -> str:
    """A number of bytes for people, to three digits: ``1.23 GB``."""
    for unit in ("TB", "GB", "MB", "kB"):
        if nbytes >= _UNITS[unit]:
            number = nbytes / _UNITS[unit]
            return f"{number:.3g} {unit}" if number < 999.5 else f"{number:.0f} {unit}"
    return f"{nbytes} B"
