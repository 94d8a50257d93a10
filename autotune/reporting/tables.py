"""Tables of text: aligned for a terminal, or markdown."""

from __future__ import annotations

from collections.abc import Sequence

Row = Sequence[object]


def plain(head: Sequence[str], rows: Sequence[Row]) -> str:
    """An aligned table; columns of numbers are aligned to the right."""
    cells = [[cell(v) for v in row] for row in rows]
    widths = [max([len(h), *(len(r[i]) for r in cells)]) for i, h in enumerate(head)]
    right = [bool(rows) and all(_is_number(r[i]) for r in rows) for i in range(len(head))]
    lines = [
        "  ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in [list(head), *cells]
    ]
    return "\n".join(lines)


def markdown(head: Sequence[str], rows: Sequence[Row]) -> str:
    """A markdown table."""
    lines = [list(head), ["---"] * len(head), *([cell(v) for v in row] for row in rows)]
    return "\n".join("| " + " | ".join(t.replace("|", "\\|").replace("\n", " ") for t in line) + " |" for line in lines)


def cell(value: object) -> str:
    """A value as a reader wants it: four digits of a fraction, ``-`` for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    return str(value)


def number(value: float) -> str:
    """A number with four significant digits and no needless noughts."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.3g}"
    return f"{value:.4f}".rstrip("0").rstrip(".") if value != int(value) else str(int(value))


def duration(seconds: float) -> str:
    """A length of time for people: ``42s``, ``4m10s``, ``1h05m``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
