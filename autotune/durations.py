"""Lengths of time as people write them: ``15m``, ``1h30m``, ``90s``, or a number of seconds."""

from __future__ import annotations

import math
import re

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_SHAPE = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")


def parse_duration(value: object) -> float:
    """Seconds from ``15m``, ``1h30m``, ``90s``, ``2d`` or a number.

    Raises:
        ValueError: It is no length of time, or not above zero; says what to write.
    """
    remedy = "write e.g. 15m, 1h30m, 90s, or a number of seconds"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"is no length of time; {remedy}")
    if isinstance(value, str):
        text = value.replace(" ", "").lower()
        if _SHAPE.fullmatch(text):
            parts = _PART.findall(text)
            if len({unit for _, unit in parts}) < len(parts):
                raise ValueError(f"names a unit twice; {remedy}")
            seconds = math.fsum(float(number) * _UNITS[unit] for number, unit in parts)
        else:
            try:
                seconds = float(text)
            except ValueError:
                raise ValueError(f"is no length of time; {remedy}") from None
    else:
        seconds = float(value)
    if not math.isfinite(seconds):
        raise ValueError(f"is not finite; {remedy}")
    if seconds <= 0:
        raise ValueError(f"must be above zero; {remedy}")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest way to write a length of time that `parse_duration` reads back exactly, e.g. ``1h30m``."""
    whole = int(seconds)
    text = ""
    for unit in ("h", "m", "s"):
        count, whole = divmod(whole, _UNITS[unit])
        text += f"{count}{unit}" if count else ""
    return text if text and int(seconds) == seconds else f"{seconds!r}s" if "e" not in repr(seconds) else repr(seconds)


def format_milliseconds(seconds: float) -> str:
    """A short time for people, with the two digits that matter: ``0.31 ms``, ``24 ms``, ``120 ms``."""
    return f"{float(f'{1000 * seconds:.2g}'):g} ms"


def format_epochs(at: float) -> str:
    """Epochs as a person reads them: ``1 epoch``, ``2.5 epochs``."""
    return f"{at:.3g} epoch{'' if at == 1 else 's'}"
